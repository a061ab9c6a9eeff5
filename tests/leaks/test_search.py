"""The whole search on small stores, runs and studies with planted leaks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from medssl.cli.main import app
from medssl.errors import ConfigError, JudgedAndFailed, MedsslError, StoreError, StudyError
from medssl.leaks.config import LeaksConfig
from medssl.leaks.corpus import COLUMNS
from medssl.leaks.rule import rule
from medssl.leaks.rulings import RULINGS, pair_id, read_rulings
from medssl.leaks.search import LeaksResult, search
from medssl.store import open_store

Make = Callable[..., Path]
Anatomy = Callable[..., npt.NDArray[np.float32]]
UidOf = Callable[..., str]
PATIENTS = 60  # 1,770 pairs of different patients: enough to tell what is natural


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="module")
def first(folder: Path, make_store: Make, make_anatomy: Anatomy) -> Path:
    scans = {f"a{n}": (f"person {n}", make_anatomy(n)) for n in range(PATIENTS)}
    return make_store(folder / "first", scans)


@pytest.fixture(scope="module")
def second(folder: Path, make_store: Make, make_anatomy: Anatomy) -> Path:
    """Under another key: six new people, and five scans of `first` in another guise."""
    scans = {f"b{n}": (f"stranger {n}", make_anatomy(500 + n)) for n in range(6)}
    scans["equal"] = ("copy 0", make_anatomy(0))
    scans["brighter"] = ("copy 1", 1.5 * make_anatomy(1) + 7)
    coarse = ndimage.zoom(make_anatomy(2), 0.5, order=1, grid_mode=True, mode="nearest")
    scans["coarse"] = ("copy 2", coarse)
    scans["mirrored"] = ("copy 3", np.ascontiguousarray(np.flip(make_anatomy(3), 0)))
    scans["file"] = ("copy 4", make_anatomy(600))
    files = {"file": f"{folder / 'first'} a4"}
    return make_store(folder / "second", scans, "other", {"coarse": 2.0}, files)


def found(result: LeaksResult) -> pd.DataFrame:
    return pd.read_parquet(result.out / "pairs.parquet")


def test_planted_copies_are_found(first: Path, second: Path, tmp_path: Path, uid_of: UidOf) -> None:
    result = search(LeaksConfig(a=first, b=second), tmp_path / "out")
    pairs = found(result)
    by_kind = {
        kind: set(zip(rows["volume_uid_a"], rows["volume_uid_b"], strict=True))
        for kind, rows in pairs.groupby("kind")
    }

    def planted(number: int, name: str) -> tuple[str, str]:
        return uid_of(f"a{number}"), uid_of(name, "other")

    assert by_kind["pixels"] == {planted(0, "equal")}
    assert by_kind["file"] == {planted(4, "file")}
    assert {planted(1, "brighter"), planted(2, "coarse")} <= by_kind["perceptual"]
    assert planted(3, "mirrored") in by_kind["mirrored"]
    assert planted(0, "equal") not in by_kind["perceptual"]
    assert len(by_kind["perceptual"] | by_kind["mirrored"]) <= 10
    # One key would be needed to compare patients.
    assert set(result.undecided) == {"patient", "series", "instance"}
    assert result.leaks
    near = pairs[pairs["distance"].notna()]
    assert (near["distance"] < near["threshold"]).all()
    turned = near[near["volume_uid_b"] == uid_of("mirrored", "other")].iloc[0]
    assert (turned["kind"], turned["mirror"]) == ("mirrored", "left-right")
    summary = json.loads((tmp_path / "out" / "search.json").read_bytes())
    assert summary["kinds"]["patient"]["status"] == "inconclusive"
    assert summary["kinds"]["perceptual"]["natural_pairs"] == 1770 + 55


def test_under_one_key_patients_series_and_objects_are_compared(
    first: Path, tmp_path: Path, make_store: Make, make_anatomy: Anatomy, uid_of: UidOf
) -> None:
    scans = {"a7": ("person 7", make_anatomy(7)), "new": ("person 9", make_anatomy(900))}
    scans["else"] = ("nobody", make_anatomy(901))
    other = make_store(tmp_path / "same", scans, files={"a7": f"{first} a7"})
    result = search(LeaksConfig(a=first, b=other), tmp_path / "out")
    counts = {shared.kind: (shared.values, shared.found) for shared in result.shared}
    assert counts == {
        "patient": (2, 2), "series": (1, 1), "instance": (1, 1), "file": (1, 1), "pixels": (1, 1),
    }  # fmt: skip
    assert not result.undecided
    pairs = found(result)
    patients = pairs[pairs["kind"] == "patient"]
    assert set(zip(patients["volume_uid_a"], patients["volume_uid_b"], strict=True)) == {
        (uid_of("a7"), uid_of("a7")),
        (uid_of("a9"), uid_of("new")),
    }


def test_a_ruling_stands_when_the_search_is_run_again(
    first: Path, second: Path, tmp_path: Path, uid_of: UidOf
) -> None:
    out = tmp_path / "out"
    before = search(LeaksConfig(a=first, b=second), out)
    pairs = found(before)
    near = pairs[pairs["distance"].notna()].sort_values("distance")
    near = near.drop_duplicates("volume_uid_b").set_index("volume_uid_b")
    copy = near.loc[uid_of("brighter", "other")]
    other = near.loc[uid_of("mirrored", "other")]
    assert rule(out, copy["pair"], "same", "First Reader").ruling == "same"
    rule(out, other["pair"][:8], "different", "First Reader")
    ruled = pd.read_parquet(out / "pairs.parquet").set_index("pair")["ruling"]
    assert (ruled[copy["pair"]], ruled[other["pair"]]) == ("same", "different")
    again = search(LeaksConfig(a=first, b=second), out)
    assert (again.confirmed, again.unreviewed) == (1, before.unreviewed - 2)
    pd.testing.assert_series_equal(found(again).set_index("pair")["ruling"], ruled)
    assert len(read_rulings(out / RULINGS)) == 2
    page = (out / "leaks.html").read_text()
    assert "1 near pair ruled same" in page
    assert page.count("First Reader") == 2
    exact = pairs[pairs["kind"] == "pixels"].iloc[0]
    with pytest.raises(StudyError, match="nothing to rule on"):
        rule(out, exact["pair"], "different", "First Reader")
    with pytest.raises(StudyError, match="lists no pair"):
        rule(out, "zz", "different", "First Reader")


def test_the_page_stands_alone_and_shows_both_volumes(
    first: Path, second: Path, tmp_path: Path
) -> None:
    out = search(LeaksConfig(a=first, b=second), tmp_path / "out").out
    html = (out / "leaks.html").read_text()
    assert not re.search(r"https?:|<script|<link|@import", html)
    pairs = re.findall(r"<h3>Pair ([0-9a-f]{12})</h3>", html)
    near = pd.read_parquet(out / "pairs.parquet").query("distance == distance")
    nearest = near.assign(r=near["distance"] / near["threshold"]).sort_values("r")
    assert pairs[0] == nearest["pair"].iloc[0]
    assert set(pairs) == set(near["pair"])
    assert html.count("data:image/jpeg;base64,") == 2 * len(pairs)
    assert str(first) not in html


def test_a_run_and_a_store(
    first: Path, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "encoder.safetensors").touch()
    monkeypatch.setattr("medssl.models.weights.read_metadata", lambda _: {"store_key_id": "key"})
    store = open_store(first)
    store.manifest[list(COLUMNS)].astype(str).to_parquet(run / "volumes.parquet", index=False)
    store.instances.to_parquet(run / "instances.parquet", index=False)
    bare = search(LeaksConfig(a=run, b=second), tmp_path / "bare")
    assert "in no store that was named" in (bare.out / "leaks.html").read_text()
    shown = search(LeaksConfig(a=run, b=second, stores=(first,)), tmp_path / "shown")
    pd.testing.assert_frame_equal(found(bare), found(shown))
    assert "data:image/jpeg" in (shown.out / "leaks.html").read_text()


def study_of(root: Path, first: Path, second: Path, key_ids: tuple[str, str]) -> Path:
    """Twelve of `first` as test cases, the others as development, `second` as pretraining."""
    root.mkdir()
    cases = open_store(first).manifest[list(COLUMNS)].astype(str)
    roles = ["test"] * 12 + ["dev"] * (len(cases) - 12)
    cases.assign(role=roles).to_parquet(root / "cases.parquet", index=False)
    open_store(first).instances.to_parquet(root / "instances.parquet", index=False)
    seen = open_store(second)
    seen.manifest[list(COLUMNS)].astype(str).to_parquet(root / "pretrain.parquet", index=False)
    seen.instances.to_parquet(root / "pretrain_instances.parquet", index=False)
    arms: dict[str, Any] = {"scratch": {"encoder": None}}
    arms["ssl_ft"] = {"encoder": {"store_key_id": key_ids[1]}}
    plan = {"data": {"key_id": key_ids[0]}, "arms": arms}
    (root / "plan.json").write_text(json.dumps(plan))
    return root


def test_a_study_is_compared_with_what_it_learned_from(
    first: Path, second: Path, tmp_path: Path
) -> None:
    study = study_of(tmp_path / "study", first, second, ("key", "other"))
    result = search(LeaksConfig(a=study, stores=(first, second)), study / "leaks")
    assert result.a == "the 12 test cases of a study"
    assert "48 development cases" in result.b
    assert "11 volumes of its encoder" in result.b
    test = set(pd.read_parquet(study / "cases.parquet")["volume_uid"][:12])
    pairs = found(result)
    assert set(pairs["volume_uid_a"]) <= test
    assert set(result.undecided) == {"patient", "series", "instance"}
    same_key = study_of(tmp_path / "again", first, second, ("key", "key"))
    assert not search(LeaksConfig(a=same_key), tmp_path / "out").undecided


def test_an_encoder_that_saw_the_development_cases_adds_none(first: Path, tmp_path: Path) -> None:
    study = study_of(tmp_path / "study", first, first, ("key", "key"))
    seen = pd.read_parquet(study / "pretrain.parquet").iloc[12:]
    seen.to_parquet(study / "pretrain.parquet", index=False)
    files = pd.read_parquet(study / "pretrain_instances.parquet")
    files = files[files["volume_uid"].isin(seen["volume_uid"])]
    files.to_parquet(study / "pretrain_instances.parquet", index=False)
    with_encoder = search(LeaksConfig(a=study), tmp_path / "with")
    (study / "pretrain.parquet").unlink()
    without = search(LeaksConfig(a=study), tmp_path / "without")
    assert len(found(without)) > 0
    pd.testing.assert_frame_equal(found(with_encoder), found(without))
    assert with_encoder.near[0].compared == without.near[0].compared > 0


def test_thin_volumes_of_a_study_are_known_by_the_store(
    make_store: Make, make_anatomy: Anatomy, tmp_path: Path
) -> None:
    scans = {f"t{n}": (f"person {n}", make_anatomy(n)[:7]) for n in range(60)}
    store = make_store(tmp_path / "thin", scans)
    study = study_of(tmp_path / "study", store, store, ("key", "key"))
    (study / "pretrain.parquet").unlink()
    blind = search(LeaksConfig(a=study), tmp_path / "blind")
    assert (blind.near[0].compared, blind.near[0].left_out) == (12 * 48, 0)
    seeing = search(LeaksConfig(a=study, stores=(store,)), tmp_path / "seeing")
    assert (seeing.near[0].compared, seeing.near[0].left_out) == (0, 60)


def test_embeddings_from_files(first: Path, second: Path, tmp_path: Path, uid_of: UidOf) -> None:
    rng = np.random.default_rng(0)
    vectors = {}
    for store in (first, second):
        for uid in open_store(store).manifest.index:
            vectors[str(uid)] = rng.normal(size=8)
    vectors[uid_of("b0", "other")] = vectors[uid_of("a30")] + 0.001
    del vectors[uid_of("b5", "other")]
    values = pa.array(np.concatenate(list(vectors.values())).astype(np.float32))
    columns = {
        "volume_uid": list(vectors),
        "embedding": pa.FixedSizeListArray.from_arrays(values, 8),
    }
    pq.write_table(pa.table(columns), tmp_path / "e.parquet")
    config = LeaksConfig(a=first, b=second, embeddings=(tmp_path / "e.parquet",))
    result = search(config, tmp_path / "out")
    pairs = found(result).query("kind == 'embedding'")
    assert (pairs["volume_uid_a"].iloc[0], pairs["volume_uid_b"].iloc[0]) == (
        uid_of("a30"),
        uid_of("b0", "other"),
    )
    assert result.near[-1].left_out == 1
    ragged = pa.table({"volume_uid": ["x", "y"], "embedding": [[1.0, 2.0], [3.0]]})
    pq.write_table(ragged, tmp_path / "e.parquet")
    with pytest.raises(ConfigError, match="equally many"):
        search(config, tmp_path / "out")


def test_what_cannot_be_searched_is_refused(first: Path, second: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="the same folder"):
        search(LeaksConfig(a=first, b=first), out)
    with pytest.raises(StoreError, match="is no store"):
        search(LeaksConfig(a=first, b=tmp_path), out)
    with pytest.raises(StudyError, match="no study"):
        search(LeaksConfig(a=first), out)
    with pytest.raises(StudyError, match=r"no readable pairs\.parquet"):
        rule(tmp_path, "ab", "same", "reader")
    assert not out.exists()


def test_the_commands(first: Path, second: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    runner = CliRunner()
    searched = runner.invoke(app, ["leaks", "search", str(first), str(second), "--out", out])
    assert isinstance(searched.exception, JudgedAndFailed)
    assert searched.stdout.splitlines()[-1] == f"look at: {out}/leaks.html"
    pairs = pd.read_parquet(tmp_path / "out" / "pairs.parquet").query("distance == distance")
    pair = str(pairs["pair"].iloc[0])
    ruled = runner.invoke(app, ["leaks", "rule", out, pair, "same", "--by", "A Reader"])
    assert ruled.exit_code == 0, ruled.output
    assert f"pair {pair}: same, by A Reader" in ruled.stdout
    wrong = runner.invoke(app, ["leaks", "rule", out, "none", "same", "--by", "A Reader"])
    assert isinstance(wrong.exception, MedsslError)
    row = pairs.iloc[0]
    assert pair == pair_id(row["pixel_sha256_b"], row["pixel_sha256_a"])
