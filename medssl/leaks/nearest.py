"""The nearest of very many pairs, in bounded memory, and how near pairs of two patients come."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

BEYOND = 0.999
SAMPLED_PAIRS = 500_000  # of each corpus
_FEWEST_PAIRS = round(1 / (1 - BEYOND))

Codes = npt.NDArray[np.int64]
Distances = npt.NDArray[np.float32]


@dataclass
class Nearest:
    """Every pair that is added is counted; the nearest are kept.

    Attributes:
        most: how many are kept; up to three times as many wait to be sorted.
        found: how many were added.
    """

    most: int
    found: int = 0
    _kept: list[tuple[Codes, Codes, Distances]] = field(default_factory=list)
    _waiting: int = 0

    def add(self, first: Codes, second: Codes, distance: Distances) -> None:
        """Pairs (first[k], second[k]) at distance[k]."""
        if not len(first):
            return
        self.found += len(first)
        self._kept.append((first, second, distance))
        self._waiting += len(first)
        if self._waiting > 3 * self.most:
            self._prune()

    def pairs(self) -> tuple[Codes, Codes, Distances]:
        """The nearest `most` pairs, by distance, then by first and second."""
        if not self._kept:
            none = np.zeros(0, dtype=np.int64)
            return none, none, np.zeros(0, dtype=np.float32)
        self._prune()
        return self._kept[0]

    def _prune(self) -> None:
        first, second, distance = (
            np.concatenate([kept[n] for kept in self._kept]) for n in range(3)
        )
        order = np.lexsort((second, first, distance))[: self.most]
        self._kept = [(first[order], second[order], distance[order])]
        self._waiting = len(order)


@dataclass(frozen=True)
class Volumes:
    """Who is who among the volumes of both corpora, A's first.

    Attributes:
        num_a: how many are A's.
        patient, pixels: a number for each patient and for each set of voxels, (volumes,).
    """

    num_a: int
    patient: Codes
    pixels: Codes

    def differ(self, first: Codes, second: Codes) -> npt.NDArray[np.bool_]:
        """Whether patients and voxels both differ; `first` and `second` count over A and B."""
        return np.asarray(
            (self.patient[first] != self.patient[second])
            & (self.pixels[first] != self.pixels[second])
        )

    def differ_across(self, in_a: Codes, in_b: Codes) -> npt.NDArray[np.bool_]:
        """The same of places in A and places in B."""
        return self.differ(in_a, in_b + self.num_a)

    def strangers(self, seed: int = 0) -> tuple[Codes, Codes]:
        """Pairs of different patients within A and within B: all, or a fixed sample of each."""
        rng = np.random.Generator(np.random.Philox(seed))
        drawn = []
        for start, stop in ((0, self.num_a), (self.num_a, len(self.patient))):
            n = stop - start
            if n * (n - 1) // 2 <= SAMPLED_PAIRS:
                first, second = np.triu_indices(n, 1)
            else:
                first, second = rng.integers(0, n, (2, SAMPLED_PAIRS))
            drawn.append((first + start, second + start))
        firsts, seconds = (np.concatenate([pair[n] for pair in drawn]) for n in range(2))
        apart = self.differ(firsts, seconds)
        return firsts[apart], seconds[apart]


@dataclass(frozen=True)
class Natural:
    """How near pairs of different patients come by nature.

    Attributes:
        threshold: the distance below which at most a thousandth of them lie; NaN where there are
            fewer than a thousand of them.
        nearest: the least distance among them.
        pairs: how many were looked at.
    """

    threshold: float
    nearest: float
    pairs: int

    @classmethod
    def of(cls, distances: npt.NDArray[np.floating]) -> Natural:
        if len(distances) < _FEWEST_PAIRS:
            return cls(float("nan"), float("nan"), len(distances))
        # An order statistic: no more than this share of the pairs lies strictly below it.
        threshold = np.quantile(distances, 1 - BEYOND, method="lower")
        return cls(float(threshold), float(distances.min()), len(distances))
