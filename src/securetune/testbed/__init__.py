"""Testbed: the embedded default, a tiny aligned chat model with a prompt world of its own."""
