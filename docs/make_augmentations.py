"""Makes docs/reference/augmentations.md and its pictures: python docs/make_augmentations.py

The text comes from the transforms' docstrings, the numbers from POLICIES and SpatialConfig; the
pictures show made-up anatomy (`medssl.sample`) and a phantom. A test compares the page with what
this script would write.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage

from medssl.augment.batch import MODALITIES
from medssl.augment.config import SpatialConfig
from medssl.augment.elastic import dense_displacement, draw_elastic
from medssl.augment.intensity.base import Parameters, Transform
from medssl.augment.normalise import Normaliser
from medssl.augment.placement import Pose, compose_map, rotation_about
from medssl.augment.policies import POLICIES, apply_steps
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.augment.spatial import sample
from medssl.report.contact_sheet import plane_of
from medssl.report.drawn_words import AXES, step_line, transform_name
from medssl.sample.canvas import Grid
from medssl.sample.head import render_head
from medssl.sample.scanners import ct_image, mr_image
from medssl.sample.torso import render_torso
from medssl.store.voxels import Rescale
from medssl.volume import Box, Modality

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "reference" / "augmentations.md"
IMAGES = DOCS / "images" / "augment"

MILD, STRONG = 1 / 3, 1.0
CORONAL = 1  # the plane in which slices are thick
SIZE = 96
SHEARED_DEG = 10.0
SHOWN = {"CT": (-0.2, 0.3), "PT": (0.0, 3.2)}

Values = npt.NDArray[np.float32]


def between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share


# What each transform draws at a share of its range, a third (mild) or all of it (strong).
AT: dict[str, Callable[[Any, float], Parameters]] = {
    "HounsfieldCalibration": lambda t, f: {"slope": 1 + f * t.slope, "offset_hu": f * t.offset_hu},
    "MetalStreaks": lambda t, f: {
        "centre": np.array([[0.31, 0.43], [0.69, 0.53]]),
        "half_axes": between(t.radius, f) * np.array([[1.2, 0.83]] * 2),
        "turn_deg": np.array([20.0, 70.0]),
        "attenuation": between(t.attenuation, f),
        "spread": between(t.spread, f),
        "noise": between(t.noise, f),
        "slices": between(t.slices, f),
        "middle_slice": 0.5,
        "noise_seed": 1,
    },
    "Blur": lambda t, f: {"sigma_voxels": between((t.least, t.most), f)},
    "Sharpen": lambda t, f: {"share": f * t.most},
    "LowResolution": lambda t, f: {"axis": t.axes[-1], "voxels": between((1.5, t.most), f)},
    "GaussianNoise": lambda t, f: {"sigma": between((t.least, t.most), f)},
    "WindowJitter": lambda t, f: {"low": -1 + f * t.low, "high": 1 - f * t.high},
    "CutOut": lambda t, f: {
        "sides": np.full((2, 3), (between(t.share, f) / 2) ** (1 / 3)),
        "place": np.array([[0.3, 0.4, 0.5], [0.7, 0.6, 0.5]]),
        "to_background": f < 1,
    },
    "HistogramShift": lambda t, f: {"levels": _more_contrast(t.points, f * t.most)},
    "Gamma": lambda t, f: {"power": t.most**f},
    "BiasField": lambda t, f: {"coefficients": f * t.most * _slope_of_bias()},
    "Motion": lambda t, f: {
        "axis": 1,
        "turned_about": 2,
        "moment": np.linspace(0.15, 0.5, max(1, round(f * t.movements))),
        "shift": f * t.shift * _to_and_fro(max(1, round(f * t.movements)))[:, None] * np.ones(3),
        "turn_deg": f * t.turn_deg * _to_and_fro(max(1, round(f * t.movements))),
    },
    "Ghosting": lambda t, f: {
        "axis": 1,
        "ghosts": 4,
        "offset": 1,
        "intensity": between(t.intensity, f),
    },
    "GibbsRinging": lambda t, f: {"axis": 1, "kept": 1 - f * (1 - t.least)},
    "Spike": lambda t, f: {
        "frequency": np.array([0.6, 0.8, 0.0]) * between(t.frequency, 0.4),
        "phase": 0.0,
        "amplitude": between(t.amplitude, f),
    },
    "RicianNoise": lambda t, f: {"sigma": between((t.least, t.most), f)},
    "UptakeScale": lambda t, f: {"factor": t.most**f},
    "CountNoise": lambda t, f: {"counts": t.most * (t.least / t.most) ** f},
    "Brightness": lambda t, f: {"factor": t.most**f},
}


def _more_contrast(points: int, moved: float) -> npt.NDArray[np.float64]:
    """The lower half of the points moved down, the upper half up."""
    levels = np.linspace(0, 1, points + 2)
    levels[1:-1] += moved / (points + 1) * np.where(np.arange(points) < points / 2, -1, 1)
    return levels


def _slope_of_bias() -> npt.NDArray[np.float64]:
    terms = np.zeros((4, 4, 4))
    terms[1, 0, 0] = terms[0, 1, 0] = terms[2, 1, 0] = terms[1, 2, 0] = 1.0
    return terms


def _to_and_fro(moves: int) -> npt.NDArray[np.float64]:
    """(moves + 1,): 0 until the first movement, then one way and the other."""
    return np.concatenate([[0.0], (-1.0) ** np.arange(moves)])


# --- the page -------------------------------------------------------------------------------------


def page() -> str:
    """The whole page."""
    lines = [
        "# Augmentations",
        "",
        "Made by `docs/make_augmentations.py` from the policies and the transforms' own words; do "
        "not edit.",
        "",
        "What pretraining changes in a scan, what it imitates, by how much, and how often. Each "
        "scan is treated by the policy that fits its units: HU by CT, SUV by PT, other MR by MR, "
        "and what is not known by OT. `medssl show STORE` draws your own scans in this way, with "
        "the numbers that were drawn; every key is in "
        "[configuration](configuration.md#augmentconfig).",
        "",
        "Pictures show made-up anatomy: without, then *mild* (a third of the policy's range) and "
        "*strong* (its end). `augment.intensity.strength` multiplies the ranges of values.",
        "",
        "## Place",
        "",
        *_place(),
        "",
        "## Values",
        "",
        "Normalised values: CT, 1 is 1000 HU, cut to -1000 ... 1000 HU; MR and OT, 1 is a "
        "standard deviation of the foreground; PT, the square root of SUV, cut to SUV 20.",
        "",
        "Each policy takes its steps in this order, as a scanner would:",
        "",
        *(f"- {modality}: {_order(modality)}" for modality in MODALITIES),
        "",
        "The share of views that get a step:",
        "",
        "| step | " + " | ".join(MODALITIES) + " |",
        "|---|" + "---|" * len(MODALITIES),
    ]
    for kind in transforms():
        shares = [_share(kind, modality) for modality in MODALITIES]
        name = transform_name(kind)
        lines.append(f"| [{name}](#{_anchor(name)}) | " + " | ".join(shares) + " |")
    for kind in transforms():
        lines += ["", *_section(kind)]
    return "\n".join(lines) + "\n"


def transforms() -> list[type]:
    """Every transform of a policy, in the order of the steps, CT's first."""
    steps = [step for modality in MODALITIES for _, step in POLICIES[modality].steps]
    kinds = list(dict.fromkeys(type(step) for step in steps))
    # What acts last in its policy comes last here.
    return sorted(kinds, key=lambda kind: kind.__name__ == "CutOut")


def _order(modality: Modality) -> str:
    return " → ".join(transform_name(type(step)) for _, step in POLICIES[modality].steps)


def _place() -> list[str]:
    ranges = SpatialConfig()
    low, high = ranges.scale
    near, far = ranges.elastic_spacing_mm
    axes = ", ".join(AXES[axis] for axis in ranges.flip)
    shear = "none, unless `augment.spatial.shear_deg` is set"
    if ranges.shear_deg:
        shear = f"{-ranges.shear_deg:g} ... {ranges.shear_deg:g}° of each pair of axes"
    share = f"{ranges.elastic_probability:g}"
    if not ranges.elastic_probability:
        share += ", unless `augment.spatial.elastic_probability` is set"
    most = ranges.elastic_displacement_mm
    bent = f"{share} | up to {most:g} mm, of points {near:g} ... {far:g} mm apart"
    return [
        "All of this, with spacing and crop, is one map and one interpolation: "
        "see [one interpolation](../explanation/one-interpolation.md). A patch whose voxels are "
        "more than three times as long as wide is turned about their long axis alone, as nnU-Net "
        "does (Isensee et al. 2021). Defaults:",
        "",
        "| | imitates | share of patches | range |",
        "|---|---|---|---|",
        f"| rotation | a patient who lies askew | {ranges.rotate_probability:g} | "
        f"{-ranges.rotate_deg:g} ... {ranges.rotate_deg:g}° about each axis |",
        f"| scale | smaller and larger bodies | {ranges.scale_probability:g} | "
        f"{low:g} ... {high:g}, evenly in the logarithm |",
        f"| mirroring | the other side of a symmetric body | {ranges.flip_probability:g} for each "
        f"axis | {axes or 'no axis, unless `augment.spatial.flip` names some'} |",
        f"| shear | a tilted gantry, a slanted stack | {ranges.shear_probability:g} | {shear} |",
        f"| deformation | soft anatomy that lies another way | {bent} |",
        "",
        "![Rotation](../images/augment/rotation.png)",
        "",
        f"Without; turned by {ranges.rotate_deg / 3:.3g}° about each axis; by "
        f"{ranges.rotate_deg:g}°.",
        "",
        "![Scale](../images/augment/scale.png)",
        "",
        f"Scaled by {low:g}; without; by {high:g}.",
        "",
        "![Mirroring](../images/augment/mirroring.png)",
        "",
        "Without; mirrored left-right; mirrored front-back.",
        "",
        "![Shear](../images/augment/shear.png)",
        "",
        f"Without; right sheared by front by {SHEARED_DEG / 2:g}°; by {SHEARED_DEG:g}°.",
        "",
        "![Deformation](../images/augment/deformation.png)",
        "",
        f"Without; bent by up to {most / 3:.2g} mm (cubic B-splines, Rueckert et al. 1999); by up "
        f"to {most:g} mm.",
    ]


def _section(kind: type) -> list[str]:
    name = transform_name(kind)
    told, attributes = _docstring(kind)
    users = {m: step for m in MODALITIES for _, step in POLICIES[m].steps if type(step) is kind}
    lines = [f"### {name}", "", *told, "", "| range | meaning | " + " | ".join(users) + " |"]
    lines.append("|---|---|" + "---|" * len(users))
    for field in dataclasses.fields(kind):
        meaning = attributes.get(field.name, "")
        values = [_value(field.name, getattr(step, field.name)) for step in users.values()]
        lines.append(f"| `{field.name}` | {meaning} | " + " | ".join(values) + " |")
    shares = ", ".join(f"{modality} {_share(kind, modality)}" for modality in users)
    modality, transform = next(iter(users.items()))
    mild, strong = _captions(transform)
    lines += [
        "",
        f"Share of views: {shares}.",
        "",
        f"![{name}](../images/augment/{file_name(kind)})",
        "",
        f"{modality}: without; mild ({mild}); strong ({strong}).",
    ]
    return lines


def _captions(transform: Transform) -> list[str]:
    """What differs between mild and strong."""
    both = [AT[type(transform).__name__](transform, share) for share in (MILD, STRONG)]
    same = [key for key in both[0] if np.array_equal(both[0][key], both[1][key])]
    told = [{key: value for key, value in one.items() if key not in same} for one in both]
    lines = [step_line(transform, one).partition(": ")[2] for one in told]
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _docstring(kind: type) -> tuple[list[str], dict[str, str]]:
    """Paragraphs of a transform's docstring, and what it says of each attribute."""
    text = inspect.getdoc(kind) or ""
    told, _, listed = text.partition("\nAttributes:\n")
    attributes = {}
    for entry in re.split(r"\n(?=    \S)", "\n" + listed)[1:]:
        names, _, meaning = " ".join(entry.split()).partition(": ")
        for name in names.split(", "):
            attributes[name] = meaning[:1].upper() + meaning[1:].rstrip(".")
    paragraphs: list[str] = []
    for line in told.strip().splitlines():
        before = paragraphs[-1] if paragraphs else ""
        in_list = before.startswith(("- ", "  "))
        if before and line and in_list != line.startswith(("- ", "  ")):
            paragraphs.append("")
        paragraphs.append(line)
    return paragraphs, attributes


def _value(name: str, value: Any) -> str:
    if name == "axes":
        return ", ".join(AXES[axis] for axis in value)
    return f"{value[0]:g} ... {value[1]:g}" if isinstance(value, tuple) else f"{value:g}"


def _share(kind: type, modality: Modality) -> str:
    shares = [p for p, step in POLICIES[modality].steps if type(step) is kind]
    return " + ".join(f"{p:g}" for p in shares)


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


def file_name(kind: type) -> str:
    """The picture of a transform."""
    return transform_name(kind).lower().replace(" ", "-") + ".png"


# --- the pictures ---------------------------------------------------------------------------------


class InMemory(Reader):
    """A store of one volume that is not on disk."""

    def __init__(self, voxels: npt.NDArray[Any]) -> None:
        self.voxels = voxels

    def read(self, volume_uid: str, box: Box) -> tuple[npt.NDArray[Any], Rescale]:
        return self.voxels[tuple(slice(*ends) for ends in box)], Rescale()

    def padding(self, volume_uid: str) -> None:
        return None


def scenes() -> dict[Modality, Values]:
    """A normalised patch for each policy: a trunk, a head, hot spheres, and the head again."""
    rng = np.random.default_rng(0)
    trunk = render_torso(3, 2, cube(SIZE, 3.5, (0.0, 0.0, -60.0)), False, (1.0,) * 3, 0.7)
    hounsfield = ct_image(trunk.hounsfield, 10.0, rng).astype(np.float32)
    head = head_in_mr(SIZE, 2.1)
    mr = normaliser_of(head)(head.astype(np.float32))
    return {"CT": np.clip(hounsfield / 1000, -1, 1), "MR": mr, "PT": hot_spheres(), "OT": mr}


def cube(n: int, spacing: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Grid:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.asarray(centre) - spacing * (n - 1) / 2
    return Grid((n, n, n), affine)


def head_in_mr(n: int, spacing: float) -> npt.NDArray[np.uint16]:
    grid = cube(n, spacing)
    signal = render_head(1, 4, grid, (1.0, 1.0, 1.0), 0.4)
    return mr_image(signal, grid, 12.0, 1.0, np.random.default_rng(1)).astype(np.uint16)


def normaliser_of(head: npt.NDArray[np.uint16]) -> Normaliser:
    inside = head[head > 100]
    levels = dict(
        zip(
            ("p00_5", "p25", "p50", "p75", "p99_5"),
            np.percentile(inside, [0.5, 25, 50, 75, 99.5]),
            strict=True,
        )
    )
    return Normaliser.from_row({"units": "arbitrary", "modality": "MR", **levels, "p00_5": 0.0})


def hot_spheres() -> Values:
    """The body phantom of NEMA NU 2: spheres of 10 to 37 mm at eight times the background."""
    x, y, z = cube(SIZE, 3.2).points
    suv = np.where((x / 140) ** 2 + (y / 105) ** 2 < 1, 1.0, 0.02)
    suv[(x**2 + y**2 < 25**2)] = 0.1
    for place, diameter in enumerate((10, 13, 17, 22, 28, 37)):
        angle = np.deg2rad(60 * place)
        u, v = x - 57.2 * np.cos(angle), y - 57.2 * np.sin(angle)
        suv[u**2 + v**2 + z**2 < (diameter / 2) ** 2] = 8.0
    seen = ndimage.gaussian_filter(suv.astype(np.float32), 6.0 / 2.355 / 3.2)
    return np.asarray(np.sqrt(seen), dtype=np.float32)


def draw_transform(kind: type, images: dict[Modality, Values]) -> None:
    modality, transform = next(
        (m, step) for m in MODALITIES for _, step in POLICIES[m].steps if type(step) is kind
    )
    image = images[modality]
    low, high = SHOWN.get(modality, (float(image.min()), float(np.percentile(image, 99.7))))
    plane = CORONAL if getattr(transform, "axes", None) == (2,) else 0
    background = torch.from_numpy(image)[None]
    shown = [image]
    for share in (MILD, STRONG):
        steps = [(transform, AT[kind.__name__](transform, share))]
        changed = apply_steps(background, steps, float(image.min()), noise_seed=1)[0]
        shown.append(changed.clamp_min(float(image.min())).numpy())
    inverted = modality == "PT"
    strip([plane_of(one, plane) for one in shown], low, high, inverted, file_name(kind))


def draw_place() -> None:
    head = head_in_mr(128, 2.0)
    whole: Box = ((0, 128), (0, 128), (0, 128))
    scan = ScanInfo(
        "0" * 32, (128, 128, 128), np.diag([2.0, 2.0, 2.0, 1.0]), whole, "MR", (normaliser_of(head))
    )
    ranges = SpatialConfig()

    spacing = scan.spacing_mm
    size = (SIZE, SIZE, SIZE)

    def patch(pose: Pose = Pose(), bent_mm: float = 0.0) -> Values:  # noqa: B008
        matrix = compose_map(scan, size, spacing, scan.centre_mm, pose)
        moved = None
        if bent_mm:
            lattice = draw_elastic(
                np.random.default_rng(6), SIZE * spacing, ranges.elastic_spacing_mm, bent_mm
            )
            full = bent_mm / lattice.largest_mm.max()
            lattice = replace(lattice, displacement_mm=lattice.displacement_mm * np.float32(full))
            moved = dense_displacement(lattice, size, spacing)
        done = sample(InMemory(head), scan, matrix, size, deformation=moved).image
        return np.asarray(plane_of(done, 0))

    def turned(degrees: float) -> Values:
        return patch(Pose(rotation_about(np.deg2rad(np.full(3, degrees)))))

    def sheared(degrees: float) -> Values:
        shear = np.eye(3)
        shear[0, 1] = np.tan(np.deg2rad(degrees))
        return patch(Pose(shear=shear))

    low, high = ranges.scale
    plain, most = patch(), ranges.elastic_displacement_mm
    strips = {
        "rotation": [plain, turned(ranges.rotate_deg / 3), turned(ranges.rotate_deg)],
        "scale": [patch(Pose(scale=low)), plain, patch(Pose(scale=high))],
        "mirroring": [
            plain,
            patch(Pose(flip=(True, False, False))),
            patch(Pose(flip=(False, True, False))),
        ],
        "shear": [plain, sheared(SHEARED_DEG / 2), sheared(SHEARED_DEG)],
        "deformation": [plain, patch(bent_mm=most / 3), patch(bent_mm=most)],
    }
    top = float(np.percentile(plain, 99.7))
    for name, planes in strips.items():
        strip(planes, float(plain.min()), top, False, f"{name}.png")


def strip(planes: list[Values], low: float, high: float, inverted: bool, name: str) -> None:
    """Three planes beside each other, every voxel two by two pixels, in 64 greys."""
    shown = []
    for plane in planes:
        grey = np.clip((plane - low) / (high - low), 0, 1)
        grey = np.rint((1 - grey if inverted else grey) * 63) * 4
        shown += [np.kron(grey, np.ones((2, 2))), np.full((2 * len(grey), 6), 255)]
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.concatenate(shown[:-1], axis=1).astype(np.uint8))
    picture.quantize(64, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)


def main() -> None:
    images = scenes()
    for kind in transforms():
        draw_transform(kind, images)
    draw_place()
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
