"""Measures what one interpolation keeps and what a chain of them loses, and draws both pictures.

Prints the tables of docs/explanation/one-interpolation.md and writes
docs/images/zone-plate.png and docs/images/transfer.png:

python docs/make_interpolation.py [SCAN.nii.gz ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medssl.augment.normalise import Normaliser
from medssl.augment.placement import rotation_about
from medssl.augment.prefilter import Window, prefilter, window
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.augment.spatial import sample_volume
from medssl.store.voxels import Rescale
from medssl.volume import Affine, Box

IMAGES = Path(__file__).parent / "images"
SPACINGS = (1, 2, 3)
SCALE = 1.1
ROTATION = rotation_about(np.deg2rad([10.0, 10.0, 10.0]))
DIRECTIONS = {"axis": np.array([1.0, 0.0, 0.0]), "diagonal": np.ones(3) / np.sqrt(3)}
AMPLITUDE = 10000

Voxels = npt.NDArray[np.int16]
Values = npt.NDArray[np.float64]
Way = Callable[[Voxels, int], tuple[Values, Affine]]


class InMemory(Reader):
    """A store of one volume that is not on disk."""

    def __init__(self, voxels: Voxels) -> None:
        self.voxels = voxels

    def read(self, volume_uid: str, box: Box) -> tuple[Voxels, Rescale]:
        return self.voxels[tuple(slice(*ends) for ends in box)], Rescale()

    def padding(self, volume_uid: str) -> None:
        return None


def one_pass(voxels: Voxels, spacing: int) -> tuple[Values, Affine]:
    """Spacing, rotation, scale and crop by medssl: one map, one interpolation."""
    n = len(voxels)
    as_it_is = Normaliser("OT", -1e9, 1e9, centre=0.0, scale=1.0)
    whole: Box = ((0, n), (0, n), (0, n))
    scan = ScanInfo("0" * 32, (n, n, n), np.eye(4), whole, "OT", as_it_is)
    size = patch_size(n, spacing)
    patch = sample_volume(
        InMemory(voxels), scan, (size, size, size), float(spacing), rotation=ROTATION, scale=SCALE
    )
    return patch.image.astype(np.float64), patch.map


def chain(voxels: Voxels, spacing: int, sigma: float = 0.0) -> tuple[Values, Affine]:
    """The same as four steps, three of them trilinear, on the grids that MONAI's have.

    `Spacing` keeps the first voxel's centre, `Rotate` and `Zoom` keep the grid and its middle.
    """
    values = voxels.astype(np.float64)
    if sigma:
        values = ndimage.gaussian_filter(values, sigma, mode="nearest")
    total = np.eye(4)
    if spacing > 1:
        size = (len(voxels) - 1) // spacing + 1
        resampled = np.diag([spacing, spacing, spacing, 1.0])
        values, total = interpolated(values, resampled, size), total @ resampled
    for linear in (ROTATION, np.eye(3) / SCALE):
        about = about_the_middle(linear, len(values))
        values, total = interpolated(values, about, len(values)), total @ about
    size = patch_size(len(voxels), spacing)
    start = (len(values) - size) // 2
    cut = np.eye(4)
    cut[:3, 3] = start
    return values[(slice(start, start + size),) * 3], total @ cut


def smoothed_chain(voxels: Voxels, spacing: int) -> tuple[Values, Affine]:
    """The chain behind a Gaussian against aliasing, as wide as Cardoso et al. 2015 have it."""
    return chain(voxels, spacing, sigma=float(np.sqrt((spacing**2 - 1) / (8 * np.log(2)))))


WAYS: dict[str, Way] = {
    "one pass": one_pass,
    "chain": chain,
    "smoothed chain": smoothed_chain,
}


def interpolated(values: Values, matrix: Affine, size: int) -> Values:
    result = ndimage.affine_transform(
        values, matrix[:3, :3], matrix[:3, 3], (size,) * 3, order=1, mode="nearest"
    )
    return np.asarray(result)


def about_the_middle(linear: npt.NDArray[np.float64], n: int) -> Affine:
    middle = np.full(3, (n - 1) / 2)
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = middle - linear @ middle
    return matrix


def patch_size(n: int, spacing: int) -> int:
    """The largest cube that stays inside a volume of n voxels when it is turned, a little less."""
    reach = np.abs(ROTATION).sum(axis=1).max() * spacing / SCALE
    return int((n - 2 * spacing - 4) / reach)


def positions(matrix: Affine, size: int) -> Values:
    """(3, size, size, size): where a patch's voxels lie, in stored voxels."""
    index = np.indices((size, size, size))
    return np.einsum("ab,bxyz->axyz", matrix[:3, :3], index) + matrix[:3, 3].reshape(3, 1, 1, 1)


def as_stored(values: Values) -> Voxels:
    return np.rint(AMPLITUDE * values).astype(np.int16)


def transfer(way: Way, spacing: int, wave: Values, n: int = 96) -> dict[str, float]:
    """What becomes of a plane wave of `wave` (3,) cycles a stored voxel.

    Returns:
        nyquist: the wave's frequency in the patch, as a share of the patch's Nyquist frequency.
        kept: amplitude at the wave's own frequency over what it was; nan beyond Nyquist, where a
            grid cannot hold it.
        false: root of the power at all other frequencies, over the wave's own; beyond Nyquist all
            that is left of it.
    """
    turns = 2 * np.pi * np.tensordot(wave, np.indices((n, n, n)), 1)
    real, matrix = way(as_stored(np.cos(turns)), spacing)
    imaginary, _ = way(as_stored(np.sin(turns)), spacing)
    image = (real + 1j * imaginary) / AMPLITUDE
    there = 2 * np.pi * np.tensordot(wave, positions(matrix, len(image)), 1)
    kept = float(np.abs(np.mean(image * np.exp(-1j * there))))
    power = float(np.mean(np.abs(image) ** 2))
    nyquist = 2 * float(np.abs(matrix[:3, :3].T @ wave).max())
    if nyquist >= 1:
        return {"nyquist": nyquist, "kept": np.nan, "false": float(np.sqrt(power))}
    return {"nyquist": nyquist, "kept": kept, "false": float(np.sqrt(max(power - kept**2, 0.0)))}


def zone_plate(n: int) -> Voxels:
    """cos(pi r^2 / n): its local frequency is r / n cycles a voxel, one half at each face."""
    r2 = ((np.arange(n) - (n - 1) / 2) ** 2).astype(np.float64)
    return as_stored(np.cos(np.pi / n * (r2[:, None, None] + r2[:, None] + r2)))


def plate_error(way: Way, spacing: int, n: int) -> dict[str, Any]:
    """A zone plate beside what its patch should hold.

    Returns:
        image, ideal: the patch, and the plate itself up to the patch's Nyquist frequency.
        error: root mean square where the plate fits the patch's grid, over the plate's own.
        alias: root mean square of what is left where it does not; nan where all of it fits.
    """
    image, matrix = way(zone_plate(n), spacing)
    image = image / AMPLITUDE
    radius = positions(matrix, len(image)) - (n - 1) / 2
    nyquist = 2 * np.abs(np.einsum("ba,bxyz->axyz", matrix[:3, :3], radius / n)).max(axis=0)
    fits = nyquist < 1
    ideal = np.where(fits, np.cos(np.pi / n * (radius**2).sum(axis=0)), 0.0)
    own = np.sqrt(0.5)
    return {
        "image": image,
        "ideal": ideal,
        "error": float(np.sqrt(np.mean((image - ideal)[fits] ** 2)) / own),
        "alias": np.nan if fits.all() else float(np.sqrt(np.mean(image[~fits] ** 2)) / own),
    }


def draw_plates(plates: dict[tuple[str, int], dict[str, Any]]) -> None:
    columns = ["ideal", *WAYS]
    figure, panels = plt.subplots(
        len(SPACINGS), len(columns), figsize=(11, 8.7), layout="constrained"
    )
    for row, spacing in enumerate(SPACINGS):
        for column, name in enumerate(columns):
            panel = panels[row, column]
            plate = plates[name if name in WAYS else "one pass", spacing]
            image = plate["image" if name in WAYS else "ideal"]
            panel.imshow(image[:, :, len(image) // 2], cmap="gray", vmin=-1, vmax=1)
            panel.set(xticks=[], yticks=[])
            if row == 0:
                panel.set_title(name, fontsize=13)
            if column == 0:
                panel.set_ylabel(f"{spacing}× downsampled", fontsize=13)
                continue
            alias = plate["alias"]
            told = "" if np.isnan(alias) else f", alias {alias:.2f}"
            panel.set_xlabel(f"error {plate['error']:.2f}{told}", fontsize=11)
    figure.savefig(IMAGES / "zone-plate.png", dpi=110)
    plt.close(figure)


def draw_transfer(curves: dict[tuple[str, int, str], list[dict[str, float]]]) -> None:
    figure, panels = plt.subplots(
        2, len(SPACINGS), figsize=(11, 6.6), sharex="row", sharey="row", layout="constrained"
    )
    colours = dict(zip(WAYS, ("#0072B2", "#D55E00", "#999999"), strict=True))
    for (name, spacing, direction), rows in curves.items():
        at = [r["nyquist"] for r in rows]
        for row, what in enumerate(("kept", "false")):
            panels[row, SPACINGS.index(spacing)].plot(
                at,
                [r[what] for r in rows],
                "-" if direction == "axis" else ":",
                color=colours[name],
                linewidth=2,
                label=f"{name}, {direction}",
            )
    for panel in panels[1]:
        panel.axvspan(1, 3, color="#F0F0F0", zorder=0)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.set(xlim=(0, 1) if panel in panels[0] else (0, 2.5), ylim=(0, 1.03))
    for column, spacing in enumerate(SPACINGS):
        panels[0, column].set_title(f"{spacing}× downsampled")
        panels[1, column].set_xlabel("frequency / the patch's Nyquist frequency")
    panels[0, 0].set_ylabel("amplitude kept")
    panels[1, 0].set_ylabel("false detail")
    panels[1, 0].legend(frameon=False, fontsize=9, loc="upper right")
    panels[1, 0].text(1.04, 0.3, "grey: finer than\nthe patch's grid", va="top", fontsize=9)
    figure.savefig(IMAGES / "transfer.png", dpi=110)
    plt.close(figure)


def at_half_nyquist(rows: list[dict[str, float]]) -> float:
    """What is kept of a wave of half the patch's Nyquist frequency."""
    return float(np.interp(0.5, [r["nyquist"] for r in rows], [r["kept"] for r in rows]))


def beyond_nyquist(rows: list[dict[str, float]]) -> float:
    """Root mean square of what is left of waves that the patch's grid cannot hold."""
    left = [r["false"] ** 2 for r in rows if r["nyquist"] >= 1]
    return float(np.sqrt(np.mean(left))) if left else float("nan")


def print_table(
    plates: dict[tuple[str, int], dict[str, Any]],
    curves: dict[tuple[str, int, str], list[dict[str, float]]],
) -> None:
    print("| | | " + " | ".join(f"{s}×" for s in SPACINGS) + " |")
    print("|---|---|" + "---:|" * len(SPACINGS))
    for what, told in (
        ("waves of half the Nyquist frequency: kept", at_half_nyquist),
        ("waves beyond it: left, as alias", beyond_nyquist),
    ):
        for name in WAYS:
            values = [
                [told(curves[name, s, direction]) for s in SPACINGS] for direction in DIRECTIONS
            ]
            cells = [" / ".join(number(v) for v in pair) for pair in zip(*values, strict=True)]
            print(f"| {what}, axis / diagonal | {name} | " + " | ".join(cells) + " |")
    for what in ("error", "alias"):
        for name in WAYS:
            cells = [number(plates[name, s][what]) for s in SPACINGS]
            print(f"| zone plate: {what} | {name} | " + " | ".join(cells) + " |")


def scan_errors(path: Path, step: float) -> dict[str, float]:
    """Errors of coarse lines through a scan, against the scan without what they cannot hold.

    Every 7th line along the axis with most voxels, `step` voxels apart from ten different starts.

    Returns:
        root mean square, in the scan's own units: "none" interpolates the voxels, "groups" means of
        as many whole voxels as the step is long, rounded, "window" what medssl averages.
    """
    values = np.squeeze(np.asarray(nib.load(path).dataobj, dtype=np.float64))
    values = np.moveaxis(values, int(np.argmax(values.shape)), 0)
    lines = values[:, ::7, ::7].reshape(len(values), -1)
    lines = lines[:, lines.std(axis=0) > 0.3 * lines.std(axis=0).mean()]
    n = len(lines)
    spectrum = np.fft.rfft(np.concatenate([lines, lines[::-1]]), axis=0)
    waves = np.arange(n + 1) / (2 * n)
    spectrum[waves > 0.5 / step] = 0
    whole = round(step)
    ways = {
        "none": Window(),
        "groups": Window(whole, (1 / whole,) * whole),
        "window": window(step),
    }
    errors: dict[str, list[float]] = {name: [] for name in ways}
    for start in 20 + step * np.arange(0, 1, 0.1):
        at = np.arange(start, n - 20, step)
        turns = np.exp(2j * np.pi * np.outer(at, waves))
        ideal = (turns @ (spectrum * np.where(waves == 0, 1, 2)[:, None])).real / (2 * n)
        for name, its in ways.items():
            block = prefilter(lines[:, :, None], (its, Window(), Window()))[:, :, 0]
            place = (at - (its.factor - 1) / 2) / its.factor
            low = np.floor(place).astype(int)
            weight = (place - low)[:, None]
            found = block[low] * (1 - weight) + block[low + 1] * weight
            errors[name].append(float(np.mean((found - ideal) ** 2)))
    return {name: float(np.sqrt(np.mean(squares))) for name, squares in errors.items()}


def number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def main(scans: list[Path]) -> None:
    IMAGES.mkdir(exist_ok=True)
    plates = {(w, s): plate_error(way, s, 256) for w, way in WAYS.items() for s in SPACINGS}
    draw_plates(plates)
    waves = np.linspace(0.01, 0.49, 25)
    # A diagonal wave has a smaller share in each axis: it takes more to pass the limit.
    longest = {"axis": 1.0, "diagonal": np.sqrt(3)}
    curves = {
        (name, spacing, direction): [
            transfer(way, spacing, f * longest[direction] * along) for f in waves
        ]
        for name, way in WAYS.items()
        for spacing in SPACINGS
        for direction, along in DIRECTIONS.items()
    }
    draw_transfer(curves)
    print_table(plates, curves)
    for path in scans:
        for step in (1.5, 2.0, 3.0):
            errors = scan_errors(path, step)
            print(path.name, step, {name: round(error, 1) for name, error in errors.items()})


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
