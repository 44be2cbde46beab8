"""Perturbations: what kind of damage is done to a module's weight?

A plug-in is a `Perturbation`: a function `change(weight, strength, draw)` that returns the *change* of the weight, and
what it needs. Its strength is relative: the Frobenius norm of the change over that of the weight, unless the file says
otherwise. Strength 0 changes nothing. It says `is_symmetric` where a change and its negative are equally likely.
"""

from typing import TYPE_CHECKING

from securetune.base.registry import Registry

if TYPE_CHECKING:
    from securetune.perturb.base.apply import Perturbation

PERTURBATIONS: "Registry[Perturbation]" = Registry(
    kind="perturbation",
    package="securetune.perturb",
    attribute="perturbation",
    expects="securetune.perturb.base.apply:Perturbation",
)
