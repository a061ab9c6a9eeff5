"""What error is usual in which tissue: means and deviations by how bright the surroundings are.

Errors are larger where anatomy is intricate. Voxels of scans without findings are put in bins by
their smoothed intensity, a stand-in for tissue, and an error is told as its distance from its
bin's mean, in standard deviations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medssl.anomaly.scan_error import Floats, Screened

BINS = 8
_SMOOTHED = 2.0  # voxels of the patch's grid: the standard deviation of the Gaussian
_OF_EACH = 20_000  # voxels of a scan that decide on the bins' edges
_LEAST_SD = 1e-6

Doubles = npt.NDArray[np.float64]


def smoothed(scan: Screened) -> Floats:
    """The image under a Gaussian of two voxels."""
    return np.asarray(ndimage.gaussian_filter(scan.image, _SMOOTHED), dtype=np.float32)


def bin_edges(scans: Iterable[Screened]) -> list[float]:
    """Smoothed intensities that part the body's voxels of all scans into eight equal shares.

    Every scan has the same say: evenly spread voxels of it, at most 20,000. Fewer bins come out
    where many voxels have the same value.
    """
    drawn = []
    for scan in scans:
        values = smoothed(scan)[scan.counted]
        places = np.linspace(0, len(values) - 1, min(_OF_EACH, len(values)))
        drawn.append(values[places.round().astype(np.int64)])
    every = np.concatenate(drawn)
    inner = np.arange(1, BINS) / BINS
    return np.unique(np.quantile(every, inner)).tolist() if len(every) else []


@dataclass(frozen=True)
class BinSums:
    """Number, sum and sum of squares of the errors in each bin; those of two scans add up."""

    number: Doubles
    total: Doubles
    squares: Doubles

    @classmethod
    def of(cls, scan: Screened, error: Floats, edges: list[float]) -> BinSums:
        """Of one scan."""
        place = np.digitize(smoothed(scan)[scan.counted], edges)
        values = error[scan.counted].astype(np.float64)
        number, total, squares = (
            np.bincount(place, values**power, len(edges) + 1).astype(np.float64)
            for power in (0, 1, 2)
        )
        return cls(number, total, squares)

    def __add__(self, other: BinSums) -> BinSums:
        return BinSums(
            self.number + other.number, self.total + other.total, self.squares + other.squares
        )


@dataclass(frozen=True)
class Usual:
    """Mean and standard deviation of the error in each bin of smoothed intensity."""

    edges: list[float]
    mean: Doubles
    sd: Doubles

    @classmethod
    def of(cls, edges: list[float], sums: BinSums) -> Usual:
        """An empty bin takes the mean and deviation of all."""
        number = np.where(sums.number > 0, sums.number, sums.number.sum())
        total = np.where(sums.number > 0, sums.total, sums.total.sum())
        squares = np.where(sums.number > 0, sums.squares, sums.squares.sum())
        mean = total / np.maximum(number, 1)
        variance = np.maximum(squares / np.maximum(number, 1) - mean**2, 0)
        return cls(edges, mean, np.maximum(np.sqrt(variance), _LEAST_SD))

    def deviations(self, scan: Screened, error: Floats) -> Floats:
        """(D, H, W) the error's distance from its bin's mean, in standard deviations; else 0."""
        place = np.digitize(smoothed(scan), self.edges)
        z = (error - self.mean[place]) / self.sd[place]
        return np.where(scan.counted, z, 0).astype(np.float32)
