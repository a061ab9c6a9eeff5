"""Run the network over scans, one after the other."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from copy import copy
from pathlib import Path
from typing import Any

import torch
from monai.data import decollate_batch


def segment(
    network: torch.nn.Module,
    loader: Iterable[Any],
    inferer: Any,
    postprocessing: Callable[[Any], Any],
    device: torch.device,
) -> list[Any]:
    """Predict and save a mask of each scan; windows beyond a scan see its background."""
    network.eval()
    done = []
    for batch in loader:
        image = batch["image"]
        window = copy(inferer)
        window.cval = float(image.meta["normalisation"]["background"])
        with torch.inference_mode():
            batch["pred"] = window(image.to(device), network)
        done += [postprocessing(case) for case in decollate_batch(batch)]
    return done


def classify(
    network: torch.nn.Module,
    loader: Iterable[Any],
    classes: list[str],
    device: torch.device,
    out: str,
) -> list[list[float]]:
    """Write probabilities of each scan's classes to the CSV file `out`, and return them."""
    network.eval()
    rows: list[list[float]] = []
    names: list[str] = []
    for batch in loader:
        with torch.inference_mode():
            logits = network(batch["image"].as_tensor().to(device))
        rows += torch.softmax(logits.float(), dim=1).tolist()
        names += [Path(name).name for name in batch["image"].meta["filename_or_obj"]]
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with open(out, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", *classes])
        table.writerows([name, *row] for name, row in zip(names, rows, strict=True))
    return rows
