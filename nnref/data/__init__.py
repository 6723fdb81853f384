"""Data sets: images, as floats from 0 to 1 or as bytes, and integer labels (N,)."""
