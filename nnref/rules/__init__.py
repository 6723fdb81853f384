"""The table of all feedback rules (known.py); their classes are in nnref/feedback.py."""
