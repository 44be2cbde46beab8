"""Evaluate: does the model still refuse what it should, answer what it should, and do the task?"""
