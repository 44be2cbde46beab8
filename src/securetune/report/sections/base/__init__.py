"""What the sections are made of, and the page they stand in."""
