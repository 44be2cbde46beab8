"""Scan: how much does safety suffer when a module is perturbed?"""
