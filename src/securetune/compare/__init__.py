"""Compare: many runs side by side, from one file to one table."""
