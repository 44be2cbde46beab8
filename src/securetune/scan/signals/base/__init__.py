"""Base: what a signal is, and how all of them are measured together."""
