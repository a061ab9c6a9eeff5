"""Every hazard of an archive ends as its table says, value by value and place by place."""

from __future__ import annotations

import csv
import runpy
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl.archive.config import IngestConfig
from medssl.archive.ingest import ingest
from medssl.archive.reasons import Reason
from medssl.cli.sample import sample
from medssl.errors import ConfigError
from medssl.sample.hazards.check import WHOLE, Checked, check_hazards
from medssl.sample.hazards.intensity import suv_factor
from medssl.sample.hazards.write import HAZARDS, LATE, write_hazards
from medssl.store.store import open_store

ROOT = Path(__file__).resolve().parents[2]
ALL = [hazard for hazards in HAZARDS.values() for hazard in hazards]
ROWS = [(h.name, setting) for h in ALL for setting in ("", *(s for s, _ in h.under))]
ROWS += [(h.name, LATE) for h in ALL if h.late]

# Ends that a folder of files cannot bring about by itself.
ELSEWHERE = {
    Reason.UNREADABLE_FILE,
    Reason.CHANGED_WHILE_READ,
    Reason.PATIENT_WITHDRAWN,
    Reason.WORKER_DIED,
    Reason.WORKER_OUT_OF_MEMORY,
    Reason.WORKER_TIMED_OUT,
    Reason.INTERNAL_ERROR,
    Reason.DICOMDIR,  # is left out silently
    Reason.SEGMENTATION_OBJECT,  # a label, and told as such
    Reason.RT_STRUCTURE_SET,
}


@pytest.fixture(scope="module")
def hazards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `medssl sample OUT --hazards` writes; not to be changed."""
    out = tmp_path_factory.mktemp("hazards") / "out"
    sample(out, hazards=True)
    return out


@pytest.fixture(scope="module")
def checked(
    hazards: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Checked]:
    rows = check_hazards(hazards, tmp_path_factory.mktemp("check"))
    return {(row.folder, row.setting): row for row in rows}


@pytest.mark.parametrize(
    "row",
    [(WHOLE, ""), *ROWS],
    ids=lambda row: row[0] + (f" [{row[1]}]" if row[1] else ""),
)
def test_it_ends_as_the_table_says(
    row: tuple[str, str], checked: dict[tuple[str, str], Checked]
) -> None:
    found = checked[row]
    assert found.found == found.expected
    assert found.wrong == ""


def test_the_table_has_every_row(hazards: Path) -> None:
    with (hazards / "hazards.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert sorted((row["folder"], row["setting"]) for row in table) == sorted(ROWS)
    folders = sorted(path.name for path in (hazards / "archive").iterdir())
    assert folders == sorted(h.name for h in ALL)
    assert Counter(h.name for h in ALL).most_common(1)[0][1] == 1
    for row in table:
        volumes = list((hazards / "truth" / row["folder"]).glob("volume_*.nii.gz"))
        assert int(row["volumes"]) in (0, len(volumes))
    assert "medssl ingest archive" in (hazards / "README.txt").read_text(encoding="utf-8")


def test_every_reason_has_a_hazard() -> None:
    ends = [e for h in ALL for e in (*h.ends, *h.late, *(e for _, more in h.under for e in more))]
    covered = {code for e in ends for code in (*e.reasons.split("+"), *e.notes.split("+"))}
    assert {str(reason) for reason in Reason} - covered == {str(r) for r in ELSEWHERE}


def test_names_choose_hazards(tmp_path: Path) -> None:
    assert write_hazards(tmp_path / "one", ["clean-series"]).hazards == 1
    with pytest.raises(ConfigError, match="not empty"):
        write_hazards(tmp_path / "one", ["clean-series"])
    with pytest.raises(ConfigError, match="no hazard nonsense"):
        write_hazards(tmp_path / "two", ["nonsense"])


def test_the_check_sees_what_is_wrong(tmp_path: Path) -> None:
    """Another value, another place, another end: one voxel and one millimetre are enough."""
    names = ["clean-series", "gantry-tilt", "missing-slice", "two-echoes", "nnunet"]
    write_hazards(tmp_path / "out", names)
    truth = tmp_path / "out" / "truth"
    image = nib.load(truth / "clean-series" / "volume_1.nii.gz")
    values = np.asarray(image.dataobj).copy()
    values[3, 4, 5] += 1
    nib.save(nib.Nifti1Image(values, image.affine), image.get_filename())
    image = nib.load(truth / "gantry-tilt" / "volume_1.nii.gz")
    affine = image.affine.copy()
    affine[2, 3] += 1
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), image.get_filename())
    image = nib.load(truth / "nnunet" / "mask_2.nii.gz")
    classes = np.asarray(image.dataobj).copy()
    classes[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(classes, image.affine), image.get_filename())
    (truth / "two-echoes" / "volume_2.nii.gz").unlink()
    table = tmp_path / "out" / "hazards.csv"
    table.write_text(table.read_text().replace("MISSING_SLICE", "SINGLE_SLICE"))
    (tmp_path / "work").mkdir()
    checked = check_hazards(tmp_path / "out", tmp_path / "work")
    assert [row.ok for row in checked] == [True] + [False] * len(names)
    wrong = {row.folder: row.wrong or row.found for row in checked}
    assert wrong["clean-series"].startswith("volume 1 is not among")
    assert wrong["gantry-tilt"].startswith("volume 1 is not among")
    assert wrong["nnunet"].startswith("mask 2 is not among")
    assert wrong["two-echoes"] == "1 true volumes, 2 read"
    assert wrong["missing-slice"] == "1 QUARANTINED (MISSING_SLICE)"


def test_numbers_beside_the_notes(tmp_path: Path, key_file: Path) -> None:
    names = ["padding-range", "philips-private-scale", "nan-and-inf"]
    archive = write_hazards(tmp_path / "out", names).archive
    store = tmp_path / "store"
    ingest(IngestConfig(archive=archive, store=store, key_file=key_file, workers=1))
    rows = open_store(store).manifest
    padded = rows.loc[rows["notes"] == "PADDING_MASKED"].iloc[0]
    assert (padded["padding_low"], padded["padding_high"]) == (-2000, -1990)
    scaled = rows.loc[rows["notes"] == "PRIVATE_SCALE_RECORDED"].iloc[0]
    assert scaled["private_slope"] == pytest.approx(0.0125)
    masked = rows.loc[rows["corrections"] == "NAN_MASKED"].iloc[0]
    assert masked["masked_voxels"] == 7
    assert rows["padding_low"].notna().sum() == rows["private_slope"].notna().sum() == 1


def test_the_script_prints_a_line_for_each_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "pipelines" / "check_hazards.py"))["main"]
    write_hazards(tmp_path / "out", ["junk-between-slices", "missing-slice"])
    assert main(tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "ok    missing-slice: 1 QUARANTINED (MISSING_SLICE)" in printed
    assert "ok    (whole archive): 5 files ignored" in printed
    assert printed.endswith("3 of 3 end as they must\n")
    table = tmp_path / "out" / "hazards.csv"
    table.write_text(table.read_text().replace("MISSING_SLICE", "SINGLE_SLICE"))
    assert main(tmp_path / "out") == 1
    assert "      expected: 1 QUARANTINED (SINGLE_SLICE)" in capsys.readouterr().out


def test_standardised_uptake_is_what_the_formula_says() -> None:
    """70 kg, 350 MBq of fluorine 18, scanned an hour after injection."""
    left = 3.5e8 * 0.5 ** (3600 / 6586.2)
    assert suv_factor() == pytest.approx(70_000 / left)
    assert suv_factor() == pytest.approx(2.921e-4, rel=1e-3)
