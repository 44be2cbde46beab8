"""Duplicates: which texts are near-copies of one another? Found by an index of rare words, not pair by pair."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from scipy.cluster.hierarchy import DisjointSet

_SHARE = (3, 5)
"""Share of their words that two near-copies have in common, as numerator and denominator."""


def near_duplicates(texts: Sequence[str]) -> list[int]:
    """The cluster of every text, numbered from 0: texts that share most of their words, directly or through others.

    Two texts are near-copies where at least 3/5 of the words of both together are in both (Jaccard). The clusters are
    those of comparing every pair, yet few pairs are compared: two near-copies share one of their rarest words, and at
    a place that leaves enough words after it (Bayardo, Ma and Srikant 2007; Xiao et al. 2008).
    """
    from scipy.cluster.hierarchy import DisjointSet  # a gate reads statistics without it

    sets = _by_rarity(texts)
    clusters: DisjointSet = DisjointSet(range(len(texts)))
    index: _Index = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    copies: dict[tuple[int, ...], int] = {}
    for i in sorted(range(len(texts)), key=lambda i: len(sets[i])):
        words = sets[i]
        if words in copies:
            clusters.merge(copies[words], i)
        elif words:
            copies[words] = i
            _join(i, sets, index, clusters)
            for place, word in _rare_words(words, 2 * _SHARE[0], sum(_SHARE)):
                index[word][_Place(len(words), len(words) - place)][clusters[i]].append(i)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(clusters[i], len(numbers)) for i in range(len(texts))]


class _Place(NamedTuple):
    """Where a word stands in a text whose words are ordered by rarity."""

    length: int
    left: int
    """Words from this one on."""


_Index = dict[int, dict[_Place, dict[int, list[int]]]]
"""By word, place and cluster (its root at that time): texts. Of one cluster, one near-copy is enough."""


def _by_rarity(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """The distinct words of every text as numbers, the rarest first."""
    counts = Counter(word for text in texts for word in set(text.lower().split()))
    ranks = {word: rank for rank, word in enumerate(sorted(counts, key=lambda word: (counts[word], word)))}
    return [tuple(sorted({ranks[word] for word in text.lower().split()})) for text in texts]


def _rare_words(words: tuple[int, ...], numerator: int, denominator: int) -> Iterator[tuple[int, int]]:
    """The words of which a text that shares this part of them must have one, with their places."""
    needed = -(-numerator * len(words) // denominator)
    return enumerate(words[: len(words) - needed + 1])


def _join(i: int, sets: Sequence[tuple[int, ...]], index: _Index, clusters: DisjointSet) -> None:
    """Join a text, at least as long as those in the index, with the clusters of its near-copies."""
    words = sets[i]
    members = frozenset(words)
    for at, word in _rare_words(words, *_SHARE):
        for place, by_cluster in index[word].items() if word in index else ():
            shorter, left = place
            if not _enough(min(len(words) - at, left), len(words) + shorter):
                continue
            for cluster, others in by_cluster.items():
                if not clusters.connected(cluster, i) and any(
                    _enough(len(members.intersection(sets[j])), len(words) + shorter) for j in others
                ):
                    clusters.merge(cluster, i)


def _enough(shared: int, total: int) -> bool:
    """Whether two texts of `total` words together, shared ones counted twice, are near-copies."""
    return shared * sum(_SHARE) >= _SHARE[0] * total
