"""Programs beside training: the demo, self-tests, gradient checks, the benchmark, summaries."""
