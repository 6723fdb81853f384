"""nnref: an educational reference for learning with a swappable feedback matrix."""

__version__ = "0.1.0"
