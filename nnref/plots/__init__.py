"""Figures: style.py first, then a file for each part of nnref that draws."""
