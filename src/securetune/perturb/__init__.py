"""Perturbations: what kind of damage is done to a module's weight?

A plug-in is a function `perturbation(weight, strength, generator)` that returns the *change* of the weight. Its
strength is relative: the Frobenius norm of the change over that of the weight, unless the file says otherwise.
Strength 0 changes nothing.
"""

from securetune.registry import Registry

PERTURBATIONS = Registry(
    kind="perturbation", package="securetune.perturb", attribute="perturbation", not_plugins=("apply",)
)
