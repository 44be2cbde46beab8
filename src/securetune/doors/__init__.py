"""Doors: one command and one function for each of the three questions people come with."""
