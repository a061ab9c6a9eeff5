"""What lies near what in a cell's encoder, against a loop over its embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from medssl.efficiency.representation import neighbours_auc
from medssl.efficiency.study import run_study
from medssl.models.build import build_encoder
from medssl.store import open_store
from medssl.transfer.embedding import embed_volumes

from .conftest import MODEL


def _cases(store: Path) -> pd.DataFrame:
    """16 training and 8 validation cases, both classes in each."""
    labels = open_store(store).labels
    bright = labels[labels["name"] == "bright"].sort_values(["value", "volume_uid"])
    split = np.where(np.arange(len(bright)) % 3 == 0, "val", "train")
    y = bright["value"].astype(int).to_numpy()
    return pd.DataFrame({"volume_uid": bright["volume_uid"], "split": split, "y_true": y})


def test_neighbours_vote_as_a_loop_says(bright_store: Path, bright_config: Any) -> None:
    store, fit = open_store(bright_store), bright_config().fit
    torch.manual_seed(0)
    encoder = build_encoder(MODEL, 1, (8, 8, 8))
    cases = _cases(bright_store)
    parts = [cases[cases["split"] == part] for part in ("train", "val")]
    ours, theirs = (
        embed_volumes(encoder, store, part["volume_uid"].tolist(), fit.augment.patch)
        for part in parts
    )
    mean, deviation = ours.mean(axis=0), ours.std(axis=0)
    y = parts[0]["y_true"].to_numpy()
    shares = []
    for query in (theirs - mean) / deviation:
        near = []
        for known, label in zip((ours - mean) / deviation, y, strict=True):
            cosine = query @ known / np.linalg.norm(query) / np.linalg.norm(known)
            near.append((cosine, label))
        voters = sorted(near, reverse=True)[: len(y) // 2]
        weights = [np.exp(cosine / 0.07) for cosine, _ in voters]
        bright = sum(w for w, (_, label) in zip(weights, voters, strict=True) if label == 1)
        shares.append(bright / sum(weights))
    expected = roc_auc_score(parts[1]["y_true"], shares)
    found = neighbours_auc(encoder, store, cases, fit)
    assert found == pytest.approx(expected)
    assert 0 < expected <= 1
    swapped = cases.assign(y_true=1 - cases["y_true"])
    assert neighbours_auc(encoder, store, swapped, fit) == pytest.approx(expected)


def test_parts_without_both_classes_say_nothing(bright_store: Path, bright_config: Any) -> None:
    store, fit = open_store(bright_store), bright_config().fit
    encoder = build_encoder(MODEL, 1, (8, 8, 8))
    cases = _cases(bright_store)
    assert neighbours_auc(encoder, store, cases[cases["split"] == "train"], fit) is None
    lone = cases[(cases["split"] == "train") | (cases["y_true"] == 1)]
    assert neighbours_auc(encoder, store, lone, fit) is None


@pytest.mark.usefixtures("no_tracking")
def test_cells_record_it_where_their_labels_allow(bright_config: Any, tmp_path: Path) -> None:
    study = tmp_path / "study"
    run_study(bright_config(), study)
    few, all_of_them = (
        json.loads((study / f"cells/scratch_{f}_0/cell.json").read_bytes())["representation"]
        for f in ("0.4", "1")
    )
    assert few["knn"] is None  # no validation part
    assert 0 <= all_of_them["knn"] <= 1
