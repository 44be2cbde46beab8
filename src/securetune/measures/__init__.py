"""Measures: numbers and what they mean; no model, no files."""
