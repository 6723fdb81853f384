"""Files, archives, hashes and caches for the loaders; nothing here depends on learning."""
