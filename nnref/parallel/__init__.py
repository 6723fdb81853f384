"""Many trainings side by side (jobs.py), and one training on many processes (ranks.py)."""
