"""Base: what a search is given."""
