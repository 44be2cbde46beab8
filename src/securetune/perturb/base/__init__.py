"""Base: how a perturbation is put on a model and taken back."""
