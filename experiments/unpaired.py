"""Unpaired: the low-rank change as a scan measured it before, each draw alone instead of with its negative."""

from dataclasses import replace

from securetune.perturb.lowrank import perturbation as lowrank

perturbation = replace(lowrank, is_symmetric=False)
