"""Data: from the user's files to prompts and rows."""
