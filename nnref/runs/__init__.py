"""A training run in a folder: settings, training with checkpoints, its report, comparisons."""
