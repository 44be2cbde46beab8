"""Duplicates: how long do clusters of near-copies take, beside comparing every pair, and does it grow per text?

    python speed/duplicates.py

Texts are drawn from one vocabulary (Zipf's law, exponent 1), a third of them copies of an earlier one with a word
changed. Every pair is compared by the same rule for as many texts as that stays bearable, and the clusters must agree.
"""

import argparse
import time
from itertools import combinations

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from securetune.measures.duplicates import near_duplicates

_VOCABULARY = 30_000
_PAIRWISE = 4_000
"""Most texts for which every pair is compared."""


def texts_of(count: int, length: int) -> list[str]:
    """Random texts, the same ones for the same count and length."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, _VOCABULARY + 1)
    words = rng.choice(_VOCABULARY, size=(count, length), p=shares / shares.sum())
    for i in range(2, count, 3):
        words[i] = words[rng.integers(i)]
        words[i, rng.integers(length)] = rng.integers(_VOCABULARY)
    return [" ".join(f"w{word}" for word in row) for row in words]


def pairwise(texts: list[str]) -> int:
    """The number of clusters, found by comparing every pair."""
    words = [frozenset(text.split()) for text in texts]
    clusters = DisjointSet(range(len(texts)))
    for i, j in combinations(range(len(texts)), 2):
        shared = len(words[i] & words[j])
        if shared / (len(words[i]) + len(words[j]) - shared) >= 0.6:
            clusters.merge(i, j)
    return clusters.n_subsets


def main() -> None:
    """Print the table: CPU time per text, and its ratio to comparing every pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 4_000, 20_000, 100_000])
    parser.add_argument("--length", type=int, default=14, help="words of a text")
    options = parser.parse_args()
    print("| Texts | Clusters | Per text, µs | Every pair takes |\n|---|---|---|---|")
    for count in options.counts:
        texts = texts_of(count, options.length)
        start = time.process_time()
        clusters = max(near_duplicates(texts)) + 1
        seconds = time.process_time() - start
        ratio = ""
        if count <= _PAIRWISE:
            start = time.process_time()
            assert pairwise(texts) == clusters
            ratio = f"{(time.process_time() - start) / seconds:.0f} times as long"
        print(f"| {count:,} | {clusters:,} | {seconds / count * 1e6:.0f} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
