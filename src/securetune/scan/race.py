"""Race: which modules lose more than their share of the tolerance, without reading every prompt for every module?

A module's drop is a mean over the malicious prompts. They come in random order, in blocks of growing size, and a module
that is decided gets no more of them: decided is it when the interval of its mean lies on one side of its share. The
interval is Student's t with the correction for a finite number of prompts (Cochran 1977, Sampling Techniques, section
2.6); the error probability is shared out over all modules and looks (Bonferroni), so it bounds the probability that any
module ends on another side than all prompts together would put it. That holds as far as means of `FIRST_BLOCK` prompts
and more are normal. Undecided modules end up with all prompts, hence with the exact scan's result.
"""

import functools
import itertools
import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy import ndarray
from scipy import stats

from securetune.models.features import PromptBatch
from securetune.models.topology import ModuleSet
from securetune.scan.passes import Passes
from securetune.scan.signals.base.interface import Baseline, PromptSignal

FIRST_BLOCK = 8


def race_blocks(
    passes: Passes, batch: Callable[[Sequence[int]], list[PromptBatch]], prompts: int, seed: int
) -> list[Passes]:
    """Share the malicious prompts 0 to `prompts` - 1 out over blocks; `batch` makes batches of some of them."""
    order = random.Random(seed).sample(range(prompts), prompts)
    blocks, start = [], 0
    for end in look_sizes(prompts):
        blocks.append(passes.on(batch(order[start:end])))
        start = end
    return blocks


def look_sizes(prompts: int) -> list[int]:
    """After how many prompts a module is looked at: 8, 16, 32 and so on, and all."""
    sizes, size = [], FIRST_BLOCK
    while size < prompts:
        sizes.append(size)
        size *= 2
    return [*sizes, prompts]


def raced_drops(
    blocks: Sequence[Passes],
    baseline: Baseline,
    signal: PromptSignal,
    modules: ModuleSet,
    *,
    strength: float,
    draws: Sequence[int],
    signs: Sequence[int],
    signal_range: float,
    tolerance: float,
    level: float,
) -> ndarray:
    """Drops [draws, prompts read] of one set of modules, with as many prompts as the decision takes.

    Every draw is the mean of its `signs`; `level` is the error probability of a single look.
    """
    total = sum(block.size for block in blocks)
    drops = np.empty((len(draws), 0))
    for block in blocks:
        clean = signal.per_prompt(baseline, block.clean, block.clean)
        block_drops = np.zeros((len(draws), len(clean)))
        for (row, draw), sign in itertools.product(enumerate(draws), signs):
            with block.perturbed(modules, strength=strength, draw=draw, sign=sign) as states:
                block_drops[row] += (clean - signal.per_prompt(baseline, states, block.clean)) / signal_range
        drops = np.concatenate([drops, block_drops / len(signs)], axis=1)
        if is_decided(drops.mean(0), total, tolerance, level):
            break
    return drops


def is_decided(drops: ndarray, total: int, tolerance: float, level: float) -> bool:
    """Whether the mean of all `total` prompts is on a known side of `tolerance`, judged by those read so far.

    Of no side where `tolerance` is not a number: then every prompt is read.
    """
    n = len(drops)
    if n == total:
        return True
    error = drops.std(ddof=1) / n**0.5 * (1 - n / total) ** 0.5
    return bool(abs(drops.mean() - tolerance) > _quantile(n, level) * error)


@functools.lru_cache
def _quantile(n: int, level: float) -> float:
    return float(stats.t.ppf(1 - level / 2, n - 1))
