"""Packed files through the whole stage: as if they had been unpacked where they lie."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medssl.archive.config import IngestConfig
from medssl.archive.identity import load_key
from medssl.archive.ingest import ingest
from medssl.archive.look import Archive
from medssl.archive.rotate import RotateConfig, rotate
from medssl.archive.scratch import Scratch
from medssl.archive.summary import IngestResult
from medssl.errors import ConfigError
from medssl.sample.hazards.write import write_hazards
from medssl.store.store import Store, open_store

Take = Callable[..., IngestResult]
NEEDLES = ["Mustermann", "MRN5551234", "19470803", "wardseven"]


@pytest.fixture
def take(tmp_path: Path, key_file: Path) -> Take:
    """Ingest tmp/archive into tmp/store, unpacking into tmp/scratch."""

    def run(**settings: Any) -> IngestResult:
        values = {
            "archive": tmp_path / "archive",
            "store": tmp_path / "store",
            "unpack": tmp_path / "scratch",
            "key_file": key_file,
            "workers": 1,
        }
        return ingest(IngestConfig.model_validate({**values, **settings}))

    return run


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    """The files of one sound CT series, in no archive."""
    write_hazards(tmp_path / "made", ["clean-series"])
    return sorted(p for p in (tmp_path / "made" / "archive").rglob("*") if p.is_file())


@pytest.fixture
def nifti(write_nifti: Any, scan_values: Any, tmp_path: Path) -> Callable[..., bytes]:
    """The bytes of an image, or of the mask of that image."""

    def make(seed: int, mask: bool = False) -> bytes:
        values = scan_values(seed)
        path = tmp_path / "made.nii.gz"
        write_nifti(path, (values > 500).astype(np.uint8) if mask else values)
        return path.read_bytes()

    return make


def pack(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def taken(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def folders(tmp_path: Path) -> list[Path]:
    """The folders of packed files."""
    return [path for path in (tmp_path / "scratch").glob("*/*") if path.is_dir()]


def test_members_pair_and_find_their_rows_as_if_beside(
    tmp_path: Path, nifti: Any, take: Take
) -> None:
    root = tmp_path / "archive" / "site"
    pack(
        root / "data.zip",
        {
            "images/case_01.nii.gz": nifti(1),
            "labels/case_01.nii.gz": nifti(1, mask=True),
            "sub-07/anat/sub-07_T1w.nii.gz": nifti(2),
        },
    )
    pack(root / "images.zip", {"images/case_02.nii.gz": nifti(3)})
    pack(root / "labels.zip", {"labels/case_02.nii.gz": nifti(3, mask=True)})
    cases = tmp_path / "cases.csv"
    cases.write_text("file,patient\nsite/images/case_02.nii.gz,Anna\n*case_01*,Bert\n")
    linkage = tmp_path / "link.parquet"
    result = take(cases=cases, linkage=linkage)
    assert (result.num_volumes, result.masks, result.num_rejected) == (3, 2, 0)
    assert result.unmatched_rows == []
    rows = taken(tmp_path).manifest
    assert sorted(rows["contrast"]) == ["", "", "T1"]
    assert set(rows["group_quality"]) == {"patient"}
    sources = set(pd.read_parquet(linkage)["source"])
    assert f"{root}/data.zip!/labels/case_01.nii.gz" in sources
    assert not any("scratch" in source for source in sources)


def test_packed_files_with_the_same_names_stay_apart(
    tmp_path: Path, nifti: Any, take: Take
) -> None:
    root = tmp_path / "archive"
    pack(root / "p1.zip", {"image.nii.gz": nifti(1), "mask.nii.gz": nifti(1, mask=True)})
    pack(root / "p2.zip", {"image.nii.gz": nifti(2), "mask.nii.gz": nifti(2, mask=True)})
    pack(root / "p3.zip", {"image.nii.gz": nifti(3)})
    cases = tmp_path / "cases.csv"
    cases.write_text("file,patient\np1.zip!/image.nii.gz,Anna\n")
    result = take(cases=cases)
    assert (result.num_volumes, result.masks, result.patients) == (3, 2, 3)
    assert result.unmatched_rows == []
    store = taken(tmp_path)
    for uid in store.mask_labels().index:
        values, mask = store.read(uid).voxels, store.read_label(uid).voxels
        np.testing.assert_array_equal(values > 500, mask > 0)


def test_a_series_may_lie_partly_in_a_packed_file(
    tmp_path: Path, series: list[Path], take: Take
) -> None:
    root = tmp_path / "archive"
    pack(root / "a" / "some.zip", {f"DICOM/{p.name}": p.read_bytes() for p in series[::3]})
    for path in series[1::3]:
        shutil.copy(path, root / "a")
    for path in series[2::3]:
        (root / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    linkage = tmp_path / "link.parquet"
    result = take(linkage=linkage)
    assert (result.num_volumes, result.num_rejected) == (1, 0)
    packed = taken(tmp_path).manifest
    assert packed["n_files"].tolist() == [len(series)]
    assert pd.read_parquet(linkage)["source"].tolist() == [str(root)]
    take(archive=series[0].parent, store=tmp_path / "plain", unpack=None)
    plain = open_store(tmp_path / "plain").manifest
    assert packed["volume_uid"].tolist() == plain["volume_uid"].tolist()


def test_a_damaged_gzip_counts_against_its_series(
    tmp_path: Path, series: list[Path], take: Take
) -> None:
    """Its last slice leaves no gap."""
    (tmp_path / "archive").mkdir()
    for path in series:
        content = gzip.compress(path.read_bytes())
        cut = 20 if path is series[-1] else 0
        (tmp_path / "archive" / f"{path.name}.gz").write_bytes(content[: len(content) - cut])
    result = take()
    assert result.rejected == {"MISSING_SLICE": 1, "PACKED_DAMAGED": 1}
    path = tmp_path / "archive" / f"{series[-1].name}.gz"
    path.write_bytes(gzip.compress(series[-1].read_bytes()))
    again = take()
    assert (again.num_volumes, again.num_rejected) == (1, 0)


def test_nothing_is_read_again_wherever_it_was_unpacked(
    tmp_path: Path, nifti: Any, take: Take
) -> None:
    root = tmp_path / "archive"
    pack(root / "a.zip", {"one.nii.gz": nifti(1)})
    pack(root / "b.zip", {"two.nii.gz": nifti(2)})
    assert take().run.units_read == 2
    (uid,) = {p.name for p in folders(tmp_path)[0].parent.parent.iterdir()}
    assert len(folders(tmp_path)) == 2
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o700 for p in folders(tmp_path))
    assert stat.S_IMODE((tmp_path / "scratch").stat().st_mode) == 0o700
    again = take()
    assert (again.run.units_read, again.run.units_unchanged) == (0, 2)
    shutil.rmtree(tmp_path / "scratch")
    elsewhere = take(unpack=tmp_path / "elsewhere")
    assert (elsewhere.run.units_read, elsewhere.run.units_unchanged) == (0, 2)
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == [uid]
    pack(root / "b.zip", {"two.nii.gz": nifti(3)})
    (root / "a.zip").unlink()
    changed = take()
    assert changed.run.units_read == 1
    assert len(folders(tmp_path)) == 1


def test_without_a_folder_they_stay_packed(tmp_path: Path, nifti: Any, take: Take) -> None:
    root = tmp_path / "archive"
    pack(root / "a.zip", {"one.nii.gz": nifti(1)})
    pack(root / "nested.zip", {"inner.zip": pack(tmp_path / "in.zip", {"x": b"x"}).read_bytes()})
    assert take(unpack=None).rejected == {"ARCHIVE_FILE": 2}
    opened = take()
    assert (opened.num_volumes, opened.rejected) == (1, {"ARCHIVE_FILE": 1})
    assert take().rejected == {"ARCHIVE_FILE": 1}
    assert take(unpack=None).rejected["ARCHIVE_FILE"] == 3


def test_a_packed_file_alone_can_be_an_archive(tmp_path: Path, nifti: Any, take: Take) -> None:
    path = pack(tmp_path / "in" / "a.zip", {"one.nii.gz": nifti(1)})
    assert take(archive=path).num_volumes == 1


def test_no_name_of_a_member_reaches_store_or_log(
    tmp_path: Path, nifti: Any, take: Take, capfd: Any
) -> None:
    root = tmp_path / "archive" / "wardseven"
    pack(
        root / "Mustermann.zip",
        {"MRN5551234/19470803.nii.gz": nifti(1), "Mustermann.nii": b"MRN5551234"},
    )
    pack(root / "Mustermann2.zip", {"../Mustermann_MRN5551234": b"x"})
    whole = pack(root / "Mustermann3.zip", {"Mustermann_MRN5551234": b"x" * 99})
    whole.write_bytes(whole.read_bytes().replace(b"xxx", b"yyy", 1))
    result = take(linkage=tmp_path / "link.parquet")
    assert result.num_volumes == 1
    assert set(result.rejected) >= {"PACKED_NAME_REFUSED", "PACKED_DAMAGED", "NIFTI_TRUNCATED"}
    told = "\n".join(result.lines()) + "".join(capfd.readouterr())
    assert not any(needle in told for needle in NEEDLES)
    for path in (tmp_path / "store").rglob("*"):
        assert not any(needle in str(path.relative_to(tmp_path)) for needle in NEEDLES)
        content = path.read_bytes() if path.is_file() else b""
        assert not any(n.encode(c) in content for n in NEEDLES for c in ("utf-8", "utf-16-le"))
        assert str(tmp_path).encode() not in content
    outside = [p for p in (tmp_path / "scratch").rglob("*") if MEMBERS_FOLDER not in p.parts]
    assert not any(needle in str(p) for p in outside for needle in NEEDLES)


MEMBERS_FOLDER = "members"
_RUN = """
import sys
from pathlib import Path
from medssl.archive.config import IngestConfig
from medssl.archive.ingest import ingest
archive, store, key, unpack = map(Path, sys.argv[1:])
ingest(IngestConfig(archive=archive, store=store, key_file=key, workers=1, unpack=unpack))
"""


def test_a_killed_run_goes_on(tmp_path: Path, nifti: Any, take: Take, key_file: Path) -> None:
    content = nifti(1)
    for n in range(6):
        members = {f"{n}/{m:04}.txt": b"text" * 50 for m in range(400)}
        pack(tmp_path / "archive" / f"{n}.zip", {f"scan{n}.nii.gz": content, **members})
    places = [str(tmp_path / name) for name in ("archive", "store")]
    command = [sys.executable, "-c", _RUN, *places, str(key_file), str(tmp_path / "scratch")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(folders(tmp_path)) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "store" / "manifest").exists()
    left = folders(tmp_path)[0].with_name("0" * 32 + ".some.partial")
    left.mkdir()
    assert take().num_volumes == 6
    assert not left.exists()
    assert sum("." not in path.name for path in folders(tmp_path)) == 6


def test_a_new_key_keeps_what_was_packed(
    tmp_path: Path, series: list[Path], nifti: Any, take: Take, key_file: Path
) -> None:
    members = {path.name: path.read_bytes() for path in series}
    pack(tmp_path / "archive" / "a.zip", {"one.nii.gz": nifti(1), **members})
    linkage, new = tmp_path / "link.parquet", tmp_path / "new.key"
    before = take(linkage=linkage)
    store = tmp_path / "store"
    rotate(RotateConfig(store, linkage, new, key_file))
    after = take(linkage=linkage, key_file=new)
    assert after.num_volumes == before.num_volumes == 2
    assert after.num_rejected == 0
    take(store=tmp_path / "fresh", key_file=new)
    fresh = open_store(tmp_path / "fresh").manifest["volume_uid"]
    assert set(taken(tmp_path).manifest["volume_uid"]) == set(fresh)


def test_where_the_folder_may_not_be(
    tmp_path: Path, nifti: Any, take: Take, key_file: Path
) -> None:
    root = tmp_path / "archive"
    pack(root / "a.zip", {"one.nii.gz": nifti(1)})
    for place in (root, root / "in", tmp_path, tmp_path / "store", tmp_path / "store" / "x"):
        with pytest.raises(ConfigError, match="one inside the other"):
            take(unpack=place)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="choose another --unpack"):
        take(unpack=tmp_path / "file")
    archive = Archive(root, load_key(key_file))
    with (
        Scratch(tmp_path / "scratch", archive, lambda _: pytest.fail("not used")),
        pytest.raises(ConfigError, match="another run unpacks"),
    ):
        take()
    (own,) = (tmp_path / "scratch").iterdir()
    os.chmod(own, 0o755)
    with pytest.raises(ConfigError, match="read by others"):
        take()
    assert not (tmp_path / "store").exists()
