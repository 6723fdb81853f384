"""Replications, one file for each paper."""
