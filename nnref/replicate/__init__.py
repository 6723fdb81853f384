"""Replications of papers: one short file each, with the paper's settings beside ours on top."""
