"""Base: the interface of an attack."""
