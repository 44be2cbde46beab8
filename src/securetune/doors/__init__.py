"""Doors: one command and one function for each of the questions people come with."""
