"""The stage on small stores: it finds what was planted, resumes, and refuses what would mislead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from medssl.anomaly.config import AnomalyConfig
from medssl.anomaly.screen import case_score, screen
from medssl.cli.anomaly import anomaly
from medssl.errors import CheckpointError, ConfigError, JudgedAndFailed, StoreError
from medssl.progress import Progress
from medssl.store import open_store
from medssl.store.writer import volume_path

MIDDLE = np.array([11, 9, 8])
PLANTED = f"{103:032x}"


@pytest.fixture
def store(make_store, make_waves, tmp_path: Path) -> Path:
    """Five scans of new patients, in one of them a bright ball of 7 voxels across."""
    scans = {f"{n:032x}": (f"new{n}", make_waves(n)) for n in range(100, 105)}
    values = scans[PLANTED][1]
    index = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), -1)
    values[np.linalg.norm(index - MIDDLE, axis=-1) <= 3.5] += 50
    return make_store(tmp_path / "store", scans)


@pytest.fixture
def healthy(make_store, make_waves, tmp_path: Path) -> Path:
    scans = {f"{n:032x}": (f"well{n}", make_waves(n)) for n in range(200, 203)}
    return make_store(tmp_path / "healthy", scans)


@pytest.mark.parametrize("compared", [False, True])
def test_a_planted_ball_ranks_first_and_its_map_peaks_there(
    pretrained: Path, store: Path, healthy: Path, tmp_path: Path, compared: bool
) -> None:
    config = AnomalyConfig(run=pretrained, store=store, healthy=healthy if compared else None)
    result = screen(config, tmp_path / "out")
    assert (result.scored, result.done_before, result.failed) == (5, 0, 0)
    table = pd.read_csv(result.table, dtype={"volume_uid": str})
    assert list(table) == ["volume_uid", "patient_key", "score_top", "score_mean", "voxels"]
    assert table["volume_uid"][0] == PLANTED
    assert table["score_top"].is_monotonic_decreasing
    opened = open_store(store)
    for row in table.itertuples():
        image = nibabel.load(tmp_path / "out" / "maps" / f"{row.volume_uid}.nii.gz")
        np.testing.assert_allclose(image.affine, opened.affine(row.volume_uid), atol=1e-5)
        values = image.get_fdata()
        of_body = np.sort(values[values != 0])
        assert row.voxels == len(of_body)
        highest = of_body[-int(np.ceil(len(of_body) / 100)) :]
        assert row.score_top == pytest.approx(highest.mean(), rel=1e-4)
        assert row.score_mean == pytest.approx(of_body.mean(), rel=1e-4, abs=1e-5)
        if row.volume_uid == PLANTED:
            peak = np.unravel_index(values.argmax(), values.shape)
            assert np.linalg.norm(peak - MIDDLE) <= 4.5
    assert result.lines()[-1].startswith(f"scores: {result.table}")
    assert result.notes == []


class Stopped(Progress):
    """Stops the work after some units, as a killed process would."""

    def __init__(self, after: int) -> None:
        self.left, self.started = after, []

    def start(self, what: str, total: int | None, done: int = 0) -> None:
        self.started.append((what, total, done))

    def advance(self, units: int = 1, **figures: float | str) -> None:
        self.left -= units
        if self.left < 0:
            raise KeyboardInterrupt

    def say(self, line: str) -> None: ...
    def finish(self) -> None: ...


def test_a_stopped_screening_goes_on_to_the_same_scores(
    pretrained: Path, store: Path, healthy: Path, tmp_path: Path
) -> None:
    config = AnomalyConfig(run=pretrained, store=store, healthy=healthy)
    whole = screen(config, tmp_path / "whole")
    of_scan = 2 * 2 * 2 * 2  # windows by masks
    for after in (2 * of_scan, 4 * of_scan):
        with pytest.raises(KeyboardInterrupt):
            screen(config, tmp_path / "out", Stopped(after))
    assert len((tmp_path / "out" / "usual.jsonl").read_text().splitlines()) == 3
    scores = tmp_path / "out" / "scores.csv"
    done = pd.read_csv(scores)
    assert 0 < len(done) < 5
    with scores.open("a") as file:  # a row that the kill tore
        file.write("00000")
    heard = Stopped(10**6)
    result = screen(config, tmp_path / "out", heard)
    assert (result.scored, result.done_before) == (5 - len(done), len(done))
    assert [(total, at) for _, total, at in heard.started] == [
        (3 * of_scan, 3 * of_scan),
        (5 * of_scan, len(done) * of_scan),
    ]
    assert scores.read_text() == whole.table.read_text()
    again = screen(config, tmp_path / "out")
    assert (again.scored, again.done_before) == (0, 5)


def test_another_configuration_or_another_comparison_is_refused(
    make_store, make_waves, pretrained: Path, store: Path, healthy: Path, tmp_path: Path
) -> None:
    config = AnomalyConfig(run=pretrained, store=store, healthy=healthy)
    screen(config, tmp_path / "out")
    with pytest.raises(ConfigError, match="repeats: 1 -> 2"):
        screen(config.model_copy(update={"repeats": 2}), tmp_path / "out")
    shutil.rmtree(healthy)
    make_store(healthy, {f"{n:032x}": (f"well{n}", make_waves(n)) for n in range(200, 202)})
    with pytest.raises(ConfigError, match="other scans in the healthy store"):
        screen(config, tmp_path / "out")


def test_the_command_says_last_where_the_results_are(
    pretrained: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anomaly(pretrained, store, tmp_path / "out", None, 1)
    lines = capsys.readouterr().out.splitlines()
    assert "5 volumes scored, 0 done already" in lines
    assert lines[-2] == f"maps:   {tmp_path / 'out' / 'maps'}"
    assert lines[-1] == f"scores: {tmp_path / 'out' / 'scores.csv'}, most unusual first"
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_shared_patients_are_refused_and_counted_not_named(
    make_store, make_waves, pretrained: Path, store: Path, tmp_path: Path
) -> None:
    scans = {f"{n:032x}": (f"new{n - 200}", make_waves(n)) for n in range(300, 303)}
    scans[f"{303:032x}"] = ("twin", make_waves(101))  # a known scan under another name
    both = make_store(tmp_path / "both", scans)
    with pytest.raises(StoreError, match="3 patients and 1 scans are in both") as refused:
        screen(AnomalyConfig(run=pretrained, store=store, healthy=both), tmp_path / "out")
    assert "new" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_patients_of_another_key_cannot_be_compared(
    make_store, make_waves, pretrained: Path, store: Path, tmp_path: Path
) -> None:
    other = make_store(tmp_path / "o", {"a": ("x", make_waves(7))}, key_id="elsewhere")
    with pytest.raises(StoreError, match="under key key, the healthy one under elsewhere"):
        screen(AnomalyConfig(run=pretrained, store=store, healthy=other), tmp_path / "out")


def test_who_was_learned_from_is_told(
    make_store, make_waves, pretrained: Path, tmp_path: Path
) -> None:
    scans = {"a": ("learned3", make_waves(50)), "b": ("new", make_waves(51))}
    store = make_store(tmp_path / "store", scans)
    result = screen(AnomalyConfig(run=pretrained, store=store), tmp_path / "out")
    assert result.notes[0].startswith("pretraining saw patients of 1 of the 2 volumes")


def test_a_method_that_hides_nothing_is_refused(
    pretrained: Path, store: Path, tmp_path: Path
) -> None:
    text = (pretrained / "config.yaml").read_text()
    begin, end = text.index("method:"), text.index("model:")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(
        text[:begin] + "method:\n  name: simclr\n" + text[end:]
    )
    with pytest.raises(ConfigError, match=r"simclr.*one of: hybrid, mae, simmim"):
        screen(AnomalyConfig(run=tmp_path / "run", store=store), tmp_path / "out")
    with pytest.raises(CheckpointError, match="no folder of a pretraining run"):
        screen(AnomalyConfig(run=tmp_path, store=store), tmp_path / "out")


def test_a_volume_that_cannot_be_read_does_not_end_the_others(
    pretrained: Path, store: Path, tmp_path: Path
) -> None:
    damaged = store / volume_path(PLANTED)
    whole = damaged.read_bytes()
    damaged.unlink()
    with pytest.raises(JudgedAndFailed, match="1 volume could not be read"):
        anomaly(pretrained, store, tmp_path / "out", None, None)
    assert PLANTED in (tmp_path / "out" / "run.log").read_text()
    damaged.write_bytes(whole)
    result = screen(AnomalyConfig(run=pretrained, store=store), tmp_path / "out")
    assert (result.scored, result.done_before, result.failed) == (1, 4, 0)


def test_a_healthy_volume_that_cannot_be_read_is_left_out_and_told(
    make_store, make_waves, pretrained: Path, store: Path, healthy: Path, tmp_path: Path
) -> None:
    damaged = healthy / volume_path(f"{202:032x}")
    whole = damaged.read_bytes()
    damaged.unlink()
    config = AnomalyConfig(run=pretrained, store=store, healthy=healthy)
    result = screen(config, tmp_path / "out")
    assert (result.scored, result.failed) == (5, 0)
    assert result.notes[-1].startswith("1 of 3 volumes in the healthy store could not be read")
    assert f"healthy volume {202:032x}" in (tmp_path / "out" / "run.log").read_text()
    others = {f"{n:032x}": (f"well{n}", make_waves(n)) for n in (200, 201)}
    fewer = make_store(tmp_path / "fewer", others)
    alone = screen(config.model_copy(update={"healthy": fewer}), tmp_path / "alone")
    assert result.table.read_text() == alone.table.read_text()
    # It has come back, but the scores that are there were made without it.
    damaged.write_bytes(whole)
    result.table.write_text("\n".join(result.table.read_text().splitlines()[:-2]) + "\n")
    again = screen(config, tmp_path / "out")
    assert (again.scored, again.done_before) == (2, 3)
    assert again.notes[-1] == result.notes[-1]
    assert again.table.read_text() == alone.table.read_text()


def test_healthy_volumes_of_which_none_can_be_read_end_the_screening(
    pretrained: Path, store: Path, healthy: Path, tmp_path: Path
) -> None:
    (healthy / "volumes").rename(tmp_path / "elsewhere")
    config = AnomalyConfig(run=pretrained, store=store, healthy=healthy)
    with pytest.raises(StoreError, match="none of the 3 MR volumes in the healthy store"):
        screen(config, tmp_path / "out")
    (tmp_path / "elsewhere").rename(healthy / "volumes")
    result = screen(config, tmp_path / "out")
    assert (result.scored, result.notes) == (5, [])


def test_what_is_usual_in_mr_does_not_depend_on_ct(
    make_store, make_waves, pretrained: Path, healthy: Path, tmp_path: Path
) -> None:
    """An error of HU / 1000 and one of an MR's own deviations have nothing in common."""
    screened = {f"{n:032x}": (f"new{n}", make_waves(n)) for n in (100, 101)}
    mr, ct = screened
    store = make_store(tmp_path / "store", screened, of_ct=(ct,))
    alone = make_store(tmp_path / "alone", {mr: screened[mr]})
    well = {f"{n:032x}": (f"well{n}", make_waves(n)) for n in range(200, 206)}
    both = make_store(tmp_path / "both", well, of_ct=tuple(well)[3:])  # the first are `healthy`
    result = screen(AnomalyConfig(run=pretrained, store=store, healthy=both), tmp_path / "out")
    expected = screen(AnomalyConfig(run=pretrained, store=alone, healthy=healthy), tmp_path / "mr")
    rows, of_mr = (
        pd.read_csv(r.table, dtype={"volume_uid": str}).set_index("volume_uid")
        for r in (result, expected)
    )
    assert of_mr.index.tolist() == [mr]
    pd.testing.assert_series_equal(rows.loc[mr], of_mr.loc[mr])
    usual, in_mr = (json.loads((r.out / "usual.json").read_text()) for r in (result, expected))
    assert list(usual) == ["MR", "CT"]
    assert usual["MR"] == in_mr["MR"]
    assert all(0.05 < edge < 0.15 for edge in usual["CT"]["edges"]), "thousands of HU"
    assert max(usual["MR"]["edges"]) > 0.5
    plain = screen(AnomalyConfig(run=pretrained, store=store), tmp_path / "plain")
    assert any(
        note.startswith("errors of CT, MR are in units of their own") for note in plain.notes
    )


def test_who_left_the_store_leaves_the_scores(
    make_store, make_waves, pretrained: Path, store: Path, tmp_path: Path
) -> None:
    config = AnomalyConfig(run=pretrained, store=store)
    screen(config, tmp_path / "out")
    kept = {f"{n:032x}": (f"new{n}", make_waves(n)) for n in (100, 102)}
    shutil.rmtree(store)
    make_store(store, kept)
    result = screen(config, tmp_path / "out")
    assert (result.scored, result.done_before) == (0, 2)
    table = pd.read_csv(result.table, dtype={"volume_uid": str})
    assert sorted(table["volume_uid"]) == sorted(kept)
    assert sorted(p.name for p in (tmp_path / "out" / "maps").iterdir()) == [
        f"{uid}.nii.gz" for uid in sorted(kept)
    ]


def test_the_score_of_a_hundredth_rounds_up() -> None:
    values = np.arange(150, dtype=np.float32).reshape(5, 5, 6)
    counted = values >= 20
    assert case_score(values, counted) == (148.5, np.arange(20, 150).mean())
    assert all(np.isnan(case_score(values, np.zeros_like(counted))))
