"""Base: what a stage is, and what it is given."""
