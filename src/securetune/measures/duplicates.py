"""Duplicates: which texts are near-copies of one another? Found by an index of rare words, not pair by pair.

Texts, words and the index are arrays of numbers: a set may have many prompts, and a Python object for every word of
every text takes more memory than all else that an evaluation holds of it.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SHARE = (3, 5)
"""Share of their words that two near-copies have in common, as numerator and denominator."""
_NONE = -1
"""Where a chain of entries ends."""
_Numbers = NDArray[np.int64]


def near_duplicates(texts: Sequence[str]) -> list[int]:
    """The cluster of every text, numbered from 0: texts that share most of their words, directly or through others.

    Two texts are near-copies where at least 3/5 of the words of both together are in both (Jaccard). The clusters are
    those of comparing every pair, yet few pairs are compared: two near-copies share one of their rarest words, and at
    a place that leaves enough words after it (Bayardo, Ma and Srikant 2007; Xiao et al. 2008).
    """
    sets = _by_rarity(texts)
    clusters, distinct = _Clusters(len(texts)), array("i")
    for rows in _by_length(sets):
        distinct.extend(_join_copies(rows, sets, clusters))
    index = _Index.of(sets, distinct)
    for text in distinct:
        _join(text, sets, index, clusters)
        index.add(text, sets, clusters)
    return clusters.numbered()


class _Clusters:
    """Disjoint sets of texts; scipy's keep them in dicts, at some 400 bytes a text."""

    def __init__(self, count: int) -> None:
        self._parents = array("i", range(count))

    def root(self, text: int) -> int:
        """The text that stands for the cluster of this one."""
        parents = self._parents
        while parents[text] != text:
            parents[text] = text = parents[parents[text]]
        return text

    def merge(self, one: int, other: int) -> None:
        """Make one cluster of two."""
        self._parents[self.root(one)] = self.root(other)

    def numbered(self) -> list[int]:
        """The cluster of every text, in the order of their first texts."""
        numbers: dict[int, int] = {}
        return [numbers.setdefault(self.root(text), len(numbers)) for text in range(len(self._parents))]


@dataclass(frozen=True, kw_only=True)
class _Sets:
    """The distinct words of every text as numbers, the rarest first; the texts one after the other."""

    words: "array[int]"
    ends: "array[int]"
    """Where every text ends; before the first stands a 0."""

    def of(self, text: int) -> "array[int]":
        """The words of one text."""
        return self.words[self.ends[text] : self.ends[text + 1]]

    def size(self, text: int) -> int:
        """How many they are."""
        return self.ends[text + 1] - self.ends[text]


def _by_rarity(texts: Sequence[str]) -> _Sets:
    numbers: dict[str, int] = {}
    words, ends = array("i"), array("q", [0])
    for text in texts:
        words.extend(numbers.setdefault(word, len(numbers)) for word in dict.fromkeys(text.lower().split()))
        ends.append(len(words))
    read = np.frombuffer(words, dtype=np.intc) if words else np.empty(0, dtype=np.intc)
    ranks = np.empty(len(numbers), dtype=np.intc)
    ranks[np.argsort(np.bincount(read, minlength=len(numbers)), kind="stable")] = np.arange(len(numbers))
    of_text = np.repeat(np.arange(len(texts)), np.diff(ends))
    return _Sets(words=array("i", ranks[read][np.lexsort((ranks[read], of_text))].tobytes()), ends=ends)


def _by_length(sets: _Sets) -> Iterator[_Numbers]:
    """The texts that have words, those of equally many together, the fewest first."""
    lengths = np.diff(sets.ends)
    order = np.argsort(lengths, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    return (group for group in groups if len(group) and lengths[group[0]])


def _join_copies(rows: _Numbers, sets: _Sets, clusters: _Clusters) -> list[int]:
    """Join texts of one length that have the same words; one text of each such cluster."""
    words = np.frombuffer(sets.words, dtype=np.intc)
    starts = np.frombuffer(sets.ends, dtype=np.int64)[rows]
    table = words[starts[:, None] + np.arange(sets.size(int(rows[0])))]
    _, firsts, copied = np.unique(table, axis=0, return_index=True, return_inverse=True)
    firsts_of_all = rows[firsts[copied.reshape(-1)]]
    for text, first in zip(rows.tolist(), firsts_of_all.tolist(), strict=True):
        if text != first:
            clusters.merge(text, first)
    return sorted(rows[firsts].tolist())


def _rare(length: int, numerator: int, denominator: int) -> int:
    """Of how many of its rarest words a text has to have one that is to share this part of all of them."""
    return length - -(-numerator * length // denominator) + 1


def _enough(shared: int, total: int) -> bool:
    """Whether two texts of `total` words together, shared ones counted twice, are near-copies."""
    return shared * sum(_SHARE) >= _SHARE[0] * total


@dataclass(frozen=True, kw_only=True)
class _Index:
    """By word and its place in a text: entries, one for each rare word of each text, in groups of one cluster each.

    There is room for all entries from the begin; a text is found once it was added.
    """

    starts: "array[int]"
    """At which place those of a word begin; behind the last stands their number."""
    lengths: "array[int]"
    """Of each place: words of the text."""
    lefts: "array[int]"
    """Of each place: words from this one on."""
    groups: "array[int]"
    """Of each place: its first group, known by its first entry."""
    ends: "array[int]"
    """At which entry those of a text begin; behind the last stands their number."""
    texts: "array[int]"
    """Of each entry: its text."""
    places: "array[int]"
    """Of each entry: its place."""
    next_groups: "array[int]"
    """Of each first entry of a group: the next group of its place."""
    next_entries: "array[int]"
    """Of each entry: the next of its group."""

    @classmethod
    def of(cls, sets: _Sets, distinct: "array[int]") -> "_Index":
        """Room for texts that differ."""
        counts = array("i", bytes(4 * (len(sets.ends) - 1)))
        for text in distinct:
            counts[text] = _rare(sets.size(text), 2 * _SHARE[0], sum(_SHARE))
        ends = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        texts = np.repeat(np.arange(len(counts), dtype=np.intc), counts)
        at = np.arange(len(texts)) - ends[texts]
        starts_of_texts = np.asarray(sets.ends)
        lengths = np.diff(starts_of_texts)[texts]
        words = np.asarray(sets.words)[starts_of_texts[texts] + at]
        longest = int(lengths.max(initial=0)) + 1
        keys, places = np.unique((words * longest + lengths) * longest + lengths - at, return_inverse=True)
        vocabulary = np.arange(int(np.max(sets.words, initial=0)) + 2)
        return cls(
            starts=_packed(np.searchsorted(keys // longest**2, vocabulary)),
            lengths=_packed(keys // longest % longest),
            lefts=_packed(keys % longest),
            groups=_packed(np.full(len(keys), _NONE)),
            ends=_packed(ends),
            texts=_packed(texts.astype(np.int64)),
            places=_packed(places),
            next_groups=_packed(np.full(len(texts), _NONE)),
            next_entries=_packed(np.full(len(texts), _NONE)),
        )

    def add(self, text: int, sets: _Sets, clusters: _Clusters) -> None:
        """Let a text be found: at every place in the group of its cluster, or in a new one."""
        root = clusters.root(text)
        for entry in range(self.ends[text], self.ends[text + 1]):
            place = self.places[entry]
            group = next((group for group in self.groups_of(place) if clusters.root(self.texts[group]) == root), _NONE)
            if group == _NONE:
                self.next_groups[entry], self.groups[place] = self.groups[place], entry
            else:
                self.next_entries[entry], self.next_entries[group] = self.next_entries[group], entry

    def groups_of(self, place: int) -> Iterator[int]:
        """The groups at a place, each by its first entry."""
        group = self.groups[place]
        while group != _NONE:
            yield group
            group = self.next_groups[group]

    def texts_of(self, group: int) -> Iterator[int]:
        """The texts of a group."""
        while group != _NONE:
            yield self.texts[group]
            group = self.next_entries[group]


def _packed(numbers: _Numbers) -> "array[int]":
    return array("i", numbers.astype(np.intc).tobytes())


def _join(text: int, sets: _Sets, index: _Index, clusters: _Clusters) -> None:
    """Join a text, at least as long as those in the index, with the clusters of its near-copies."""
    words = sets.of(text)
    members, length = frozenset(words), len(words)
    for at, word in enumerate(words[: _rare(length, *_SHARE)]):
        for place in range(index.starts[word], index.starts[word + 1]):
            shorter = index.lengths[place]
            if index.groups[place] == _NONE or not _enough(min(length - at, index.lefts[place]), length + shorter):
                continue
            for group in index.groups_of(place):
                if clusters.root(index.texts[group]) != clusters.root(text) and any(
                    _enough(len(members.intersection(sets.of(other))), length + shorter)
                    for other in index.texts_of(group)
                ):
                    clusters.merge(index.texts[group], text)
