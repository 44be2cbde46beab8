"""Drawn: some rows of others, in an order of their own, without a copy of any."""

from abc import abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TypeVar, overload

T = TypeVar("T")


class Rows(Sequence[T]):
    """A list of rows that makes each one when it is asked for; equal to any list of the same rows."""

    @abstractmethod
    def row(self, place: int) -> T:
        """The row at a place from 0."""

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> "Drawn[T]": ...
    def __getitem__(self, place: int | slice) -> "T | Drawn[T]":
        places = range(len(self))
        return Drawn([self], places[place]) if isinstance(place, slice) else self.row(places[place])

    def __iter__(self) -> Iterator[T]:
        return (self.row(place) for place in range(len(self)))

    def __add__(self, others: Sequence[T]) -> "Drawn[T]":
        return Drawn([self, others], range(len(self) + len(others)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # like a list's


class Drawn(Rows[T]):
    """Rows of some others."""

    def __init__(self, sources: Sequence[Sequence[T]], places: Iterable[int]) -> None:
        """Take the rows at `places`, counted from 0 through all sources one after the other."""
        self._sources, self._ends = sources, list(accumulate(map(len, sources)))
        self._places = places if isinstance(places, range) else array("q", places)

    def __len__(self) -> int:
        return len(self._places)

    def row(self, place: int) -> T:
        """The row at a place from 0."""
        of_all = self._places[place]
        source = bisect_right(self._ends, of_all)
        return self._sources[source][of_all - self._ends[source] + len(self._sources[source])]
