"""The quality report: what it says is so, it stands alone, names nobody and stays small."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medssl.archive.config import IngestConfig
from medssl.archive.identity import make_key_file
from medssl.archive.ingest import ingest
from medssl.archive.reasons import Reason
from medssl.errors import StoreError
from medssl.report import quality_pictures, quality_state
from medssl.report.quality import MOST_PICTURES, write_quality
from medssl.store.writer import write_part

MakeRow = Callable[..., dict[str, Any]]
WriteRows = Callable[..., None]
UidOf = Callable[[int], str]


def written(root: Path) -> str:
    return write_quality(root).read_text(encoding="utf-8")


def plain(html: str) -> str:
    """The words of a page, without markup and pictures."""
    html = re.sub(r"<style>.*?</style>", " ", html, flags=re.DOTALL)
    html = re.sub(r"<[^>]*>", " ", html)
    return re.sub(r"\s+", " ", unescape(html))


def section(html: str, heading: str) -> str:
    _, _, after = html.partition(f">{heading}</h2>")
    assert after, f"no section {heading}"
    return plain(after.partition("<h2")[0])


def test_the_page_stands_alone(store_root: Path, make_row: MakeRow, write_rows: WriteRows) -> None:
    write_rows([make_row(n) for n in range(4)])
    html = written(store_root)
    assert not re.search(r"https?:|<script|<link|@import|url\(", html)
    sources = re.findall(r'src="([^"]*)"', html)
    assert len(sources) == 4
    for source in sources:
        head, _, data = source.partition(",")
        assert head == "data:image/jpeg;base64"
        assert base64.b64decode(data).startswith(b"\xff\xd8")
    assert html.count('<img alt="Axial, coronal and sagittal plane of volume ') == 4
    assert "pseudonymised, not anonymous" in html


def test_counts_are_those_of_the_manifest(
    uid_of: UidOf, store_root: Path, make_row: MakeRow, write_rows: WriteRows
) -> None:
    one = uid_of(99)
    rows = [make_row(n, patient_key=one if n < 3 else uid_of(n)) for n in range(9)]
    rows += [
        make_row(20 + n, modality="PT", units="BQML", manufacturer="GE", model="DISCOVERY")
        for n in range(2)
    ]
    rows[0] |= {"outcome": "CORRECTED", "corrections": "DUPLICATE_DROPPED+NAN_MASKED"}
    rows[1] |= {"notes": "PADDING_MASKED"}
    rows[2] |= {"sex": "F", "age_band": "40-44"}
    write_rows(rows)
    html = written(store_root)
    assert "11 volumes of 9 patients" in html
    tiles = dict(re.findall(r"<dt>([\d,]+)</dt><dd>(.*?)</dd>", html)[i][::-1] for i in range(6))
    assert tiles["exact"] == "10"
    assert tiles["corrected"] == "1"
    there = section(html, "What is there")
    assert "MR SIEMENS SKYRA arbitrary 9 7" in there
    assert "PT GE DISCOVERY BQML 2 2" in there
    assert "MR 9 89% 89%" in there  # sex and age not stated
    assert "PET volumes without SUV 2 of 2" in section(html, "Intensities by vendor")
    assert "MR: 9 volumes slices \\ in plane 1 to 1.5 2 to 3.5 9" in section(html, "Spacing")
    changed = section(html, "Corrected and noted")
    for code in ("DUPLICATE_DROPPED", "NAN_MASKED", "PADDING_MASKED"):
        assert f"{code} 1 volume {Reason[code].text}" in changed


def test_what_was_refused_is_counted_and_explained(
    uid_of: UidOf, store_root: Path, make_row: MakeRow, write_rows: WriteRows
) -> None:
    write_rows([make_row(0)])
    refused = [
        {"kind": "series", "reason": "MISSING_SLICE", "detail": "gap after slice 4", "n_files": 30},
        {"kind": "series", "reason": "MISSING_SLICE", "detail": "", "n_files": 20},
        {"kind": "file", "reason": "UNKNOWN_FORMAT", "detail": "", "n_files": 1},
        {"kind": "label", "reason": "LABEL_WITHOUT_IMAGE", "detail": "", "n_files": 1},
    ]
    rows = [{**row, "source_key": uid_of(500 + n)} for n, row in enumerate(refused)]
    write_part(store_root, "rejected", "part-00000001", rows)
    html = written(store_root)
    told = section(html, "Not taken")
    assert f"MISSING_SLICE 2 series, 50 files {Reason['MISSING_SLICE'].text}" in told
    assert f"UNKNOWN_FORMAT 1 file {Reason['UNKNOWN_FORMAT'].text}" in told
    assert f"{uid_of(500)[:12]} gap after slice 4" in told
    assert told.index("Quarantined") < told.index("Unpaired") < told.index("Not an image")
    assert "<dt>3</dt><dd>files and series not taken</dd>" in html  # the label is not one


def test_a_store_without_volumes_has_a_page(store_root: Path) -> None:
    html = written(store_root)
    assert "0 volumes of 0 patients" in html
    assert "The store holds no volume." in html


def test_outliers_are_named_with_the_reason(
    store_root: Path, make_row: MakeRow, write_rows: WriteRows
) -> None:
    rows = [make_row(n) for n in range(20)]
    loud = make_row(30)
    for level in ("p05", "p25", "p50", "p75", "p95", "p99_5"):
        loud[level] *= 40
    wide = make_row(31, affine=np.diag([1.0, 1.0, 9.0, 1.0]))
    thin = make_row(32, np.arange(14 * 10 * 3, dtype=np.int16).reshape(14, 10, 3))
    thin |= {level: rows[0][level] for level in ("p05", "p25", "p50", "p75", "p95")}
    hot = make_row(33, modality="PT", units="SUV")  # values of hundreds: no SUV of a patient
    write_rows([*rows, loud, wide, thin, hot])
    odd = section(written(store_root), "Outliers")
    for title, row in (
        ("Values far from its kind: 1 volume", loud),
        ("Spacing far from its kind: 1 volume", wide),
        ("Extreme shape: 1 volume", thin),
        ("Values that a patient cannot have: 1 volume", hot),
    ):
        _, _, after = odd.partition(title)
        assert row["volume_uid"][:12] in after, title
    assert "1.00 mm in plane, 9.00 mm between slices; median of its kind 1.00 mm" in odd
    assert not any(row["volume_uid"][:12] in odd for row in rows)


def test_what_a_whole_kind_is_makes_no_outliers(
    store_root: Path, make_row: MakeRow, write_rows: WriteRows
) -> None:
    slab = np.arange(14 * 10 * 3, dtype=np.int16).reshape(14, 10, 3)
    rows = [make_row(n, slab + n) for n in range(10)]
    write_rows(rows)
    html = written(store_root)
    odd = section(html, "Outliers")
    assert "extreme shape MR · Siemens · arbitrary units 10 10" in odd
    assert "Extreme shape" not in odd
    assert "<dt>0</dt><dd>outliers</dd>" in html


def test_a_scan_under_two_patients_is_flagged(
    store_root: Path, make_row: MakeRow, write_rows: WriteRows
) -> None:
    rows = [make_row(n) for n in range(6)]
    rows[1] |= {"pixel_sha256": rows[0]["pixel_sha256"]}  # another patient: a leak
    rows[3] |= {k: rows[2][k] for k in ("pixel_sha256", "patient_key")}  # the same: none
    flipped = int(rows[4]["perceptual_hash"], 16) ^ (1 << 200) ^ (1 << 100) ^ 1
    rows[5] |= {"perceptual_hash": f"{flipped:064x}"}
    write_rows(rows, each=2)
    html = written(store_root)
    assert "Equal voxels under several patients: 1 scan." in plain(html)
    told = section(html, "Same scan, several patients")
    assert "Equal voxels under several patients: 2 volumes of 1 scan." in told
    assert "Alike: 1 pair that differ" in told
    assert "under the same patient: 1 volume" in told
    for n in (0, 1, 4, 5):
        assert rows[n]["volume_uid"][:12] in told
    for n in (2, 3):
        assert rows[n]["volume_uid"][:12] not in told


def test_patients_apart_are_not_flagged(
    store_root: Path, make_row: MakeRow, write_rows: WriteRows
) -> None:
    write_rows([make_row(n) for n in range(30)])
    assert "None: no two patients share a scan." in section(
        written(store_root), "Same scan, several patients"
    )


def test_damaged_voxels_cost_one_picture(
    store_root: Path, make_row: MakeRow, write_rows: WriteRows
) -> None:
    rows = [make_row(n) for n in range(3)]
    (store_root / rows[1]["path"]).write_bytes(b"nothing")
    write_rows(rows)
    html = written(store_root)
    assert html.count("<img ") == 2
    assert "1 of them could not be read" in plain(html)


def test_a_damaged_part_is_an_error(store_root: Path, make_row: MakeRow) -> None:
    (store_root / "manifest").mkdir()
    (store_root / "manifest" / "part-00000001.parquet").write_bytes(b"nothing")
    with pytest.raises(StoreError, match="damaged"):
        write_quality(store_root)


def test_a_thousand_volumes_stay_small(
    uid_of: UidOf,
    store_root: Path,
    make_row: MakeRow,
    write_rows: WriteRows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = np.random.Generator(np.random.Philox(1)).integers(0, 900, (96, 96, 96), dtype=np.int16)
    models = [make_row(n, noise) for n in range(4)]  # noise: pictures as large as they can be
    rows = []
    for n in range(1000):
        part = ("BRAIN", "CHEST", "PELVIS", "SPINE")[n % 4]
        vendor = f"VENDOR{n % 50}"
        keys = {"volume_uid": uid_of(n), "patient_key": uid_of(5000 + n), "series_key": uid_of(n)}
        hashes = {"pixel_sha256": uid_of(n) * 2, "perceptual_hash": uid_of(7000 + n) * 2}
        rows.append({**models[n % 4], **keys, **hashes, "body_part": part, "manufacturer": vendor})
    write_rows(rows, each=250)
    drawn = []

    def count(root: Path, row: Any) -> quality_pictures.Picture:
        drawn.append(row["volume_uid"])
        return draw(root, row)

    draw = quality_pictures.draw
    monkeypatch.setattr(quality_pictures, "draw", count)
    html = written(store_root)
    assert len(html) < 3_000_000
    assert 60 <= len(drawn) <= MOST_PICTURES
    assert "rarer kinds without a picture" in html
    assert "1,000 volumes of 1,000 patients" in html


# --- with ingest ----------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive whose every name is a needle."""
    root = tmp_path / "Needle-Hospital"
    (root / "Needle_Jane").mkdir(parents=True)
    rng = np.random.Generator(np.random.Philox(3))
    for n in range(2):
        image = nib.Nifti1Image(rng.integers(0, 900, (16, 16, 16), dtype=np.int16), np.eye(4))
        image.header["descrip"] = b"Needle 1960"
        nib.save(image, root / "Needle_Jane" / f"needle_{n}.nii.gz")
    (root / "Needle_Jane" / "needle.nii.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    (root / "needle.json").write_text('{"needle": 1}')
    return root


def take(archive: Path, tmp_path: Path) -> Any:
    key = tmp_path / "keys" / "key"
    if not key.exists():
        make_key_file(key)
    return ingest(
        IngestConfig(
            archive=archive,
            store=tmp_path / "store",
            key_file=key,
            modality="MR",
            site="north",
            workers=1,
        )
    )


def test_ingest_writes_the_page_and_names_nobody(archive: Path, tmp_path: Path) -> None:
    result = take(archive, tmp_path)
    page = tmp_path / "store" / "quality.html"
    assert f"quality: {page}" in result.lines()
    html = page.read_text(encoding="utf-8")
    words = plain(html)
    assert "needle" not in words.lower()
    assert str(tmp_path) not in html
    assert "2 volumes of 2 patients" in words
    assert "north MR 2" in section(html, "What is there")
    assert "Patient not known: 2 volumes" in words
    assert "1 file" in section(html, "Not taken")
    assert "side files: tables, texts, directories of media 1" in section(
        html, "Files of the last run"
    )


def test_a_run_that_changed_nothing_leaves_the_page(archive: Path, tmp_path: Path) -> None:
    take(archive, tmp_path)
    page = tmp_path / "store" / "quality.html"
    before = page.stat()
    (archive / "Needle_Jane" / "needle.nii.gz").unlink()  # refused files are looked at again
    take(archive, tmp_path)
    refused = page.stat()
    take(archive, tmp_path)
    assert (page.stat().st_ino, page.stat().st_mtime_ns) == (refused.st_ino, refused.st_mtime_ns)
    shutil.copy(
        archive / "Needle_Jane" / "needle_0.nii.gz", archive / "Needle_Jane" / "second.nii.gz"
    )
    take(archive, tmp_path)
    assert page.stat().st_ino != before.st_ino
    html = page.read_text(encoding="utf-8")
    assert "3 volumes" in html
    assert "Equal voxels under several patients: 1 scan." in plain(html)


def test_a_page_that_is_gone_or_old_is_written_again(
    store_root: Path, make_row: MakeRow, write_rows: WriteRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows([make_row(0)])
    page = write_quality(store_root)
    page.unlink()
    write_quality(store_root)
    first = page.stat().st_ino
    assert write_quality(store_root).stat().st_ino == first
    monkeypatch.setattr(quality_state, "_FORMAT", "another")
    assert write_quality(store_root).stat().st_ino != first


def test_rows_that_moved_to_another_part_leave_the_page(
    store_root: Path, make_row: MakeRow, write_rows: WriteRows
) -> None:
    rows = [make_row(n) for n in range(5)]
    write_rows(rows)
    page = write_quality(store_root)
    before = page.stat().st_ino
    shutil.rmtree(store_root / "manifest")
    write_rows(rows[::-1], each=2)
    assert write_quality(store_root).stat().st_ino == before
    for changed in ({"sex": "F"}, {"notes": "NO_SUV"}, {"patient_key": rows[3]["patient_key"]}):
        write_rows([{**rows[0], **changed}, *rows[1:]], each=5)
        for part in sorted((store_root / "manifest").glob("*"))[1:]:
            part.unlink()
        now = write_quality(store_root).stat().st_ino
        assert now != before
        before = now


@pytest.mark.real
def test_real_scans_that_came_twice_are_found(real_data: Path, tmp_path: Path) -> None:
    take(real_data / "sarcoma", tmp_path)  # DICOM, and NIfTI of the same patients
    html = (tmp_path / "store" / "quality.html").read_text(encoding="utf-8")
    told = section(html, "Same scan, several patients")
    equal = re.search(r"several patients: (\d+) volumes of (\d+) scans", told)
    assert equal
    assert int(equal[2]) >= 10
    near = re.search(r"Alike: (\d+) pairs", told)  # PET: the NIfTI are in SUV of other digits
    assert near
    assert int(near[1]) >= 5
    assert "PT · EXTREMITY · GE · SUV" in plain(html)
    assert "could not be read:" not in plain(html)
    assert len(html) < 2_000_000
