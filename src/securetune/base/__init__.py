"""Base: what every room may use; it knows no model."""
