"""Ways to carry an error that need more than a B for each W, and the table of all (known.py)."""
