"""Archive and file plumbing under the loaders: nothing here knows about learning."""
