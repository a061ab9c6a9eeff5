"""Draws docs/images/quickstart.png from what `medssl quickstart` left in its folder.

python docs/make_picture.py quickstart
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from medssl.store import Store, open_store
from medssl.volume import Volume

IMAGES = Path(__file__).parent / "images"


def main(folder: Path) -> None:
    """One row of scans from the store, one of what was learned from them."""
    figure, panels = plt.subplot_mosaic(
        [["ct0", "ct1", "mr0", "ct2", "mr1", "ct3"], ["loss"] * 3 + ["curve"] * 3],
        figsize=(12, 7),
        height_ratios=[1.0, 1.7],
        layout="constrained",
    )
    store = open_store(folder / "store")
    for modality, names in (("CT", ("ct0", "ct1", "ct2", "ct3")), ("MR", ("mr0", "mr1"))):
        for name, uid in zip(names, tallest(store, modality), strict=False):
            show_coronal(panels[name], store.read(uid))
            panels[name].set_title(modality, fontsize=10)
    lines = (folder / "pretrain" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "train/loss" in row]
    panels["loss"].plot([r["step"] for r in rows], [r["train/loss"] for r in rows], color="#0072B2")
    panels["loss"].set(title="pretraining", xlabel="step", ylabel="masked reconstruction loss")
    panels["loss"].spines[["top", "right"]].set_visible(False)
    panels["curve"].imshow(plt.imread(folder / "study" / "curve.png"))
    panels["curve"].axis("off")
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / "quickstart.png", dpi=110)


def tallest(store: Store, modality: str) -> list[str]:
    """Volumes of a modality, those that reach furthest from bottom to top first."""
    rows = store.manifest[store.manifest["modality"] == modality]
    return sorted(rows.index, key=lambda uid: -store.read(uid).to_ras().shape[2])


def show_coronal(panel: plt.Axes, volume: Volume) -> None:
    """The middle coronal slice, the patient's right on the reader's left."""
    ras = volume.to_ras()
    values = ras.voxels
    low, high = (-1000, 400) if volume.units == "HU" else np.percentile(values, [1, 99.5])
    picture = values[::-1, values.shape[1] // 2].T
    spacing = ras.spacing_mm
    panel.imshow(
        picture, origin="lower", cmap="gray", vmin=low, vmax=high, aspect=spacing[2] / spacing[0]
    )
    panel.axis("off")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart"))
