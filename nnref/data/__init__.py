"""Data sets: images (N, H, W, C) with values from 0 to 1, and integer labels (N,)."""
