"""Many trainings side by side (jobs.py), one training on many processes (ranks.py)."""
