"""Base: where a benchmark's rows come from."""
