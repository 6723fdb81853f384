"""Experiments of our own on questions that no paper answers, one file for each."""
