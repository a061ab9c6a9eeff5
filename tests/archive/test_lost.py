"""A damaged file at the end of a series costs that series, and no other, and not for nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medssl.archive.config import IngestConfig
from medssl.archive.identity import Key
from medssl.archive.ingest import ingest
from medssl.archive.uids_in_bytes import tags_in_bytes
from medssl.archive.whole import may_be_slices
from medssl.store.store import Store, open_store

Take = Callable[..., Store]
KEY = Key(b"k" * 32)


def write_series(
    folder: Path,
    uid: str,
    names: str = "IM{:04}.dcm",
    syntax: str = ExplicitVRLittleEndian,
    first: int = 1,
    **elements: Any,
) -> list[Path]:
    """Ten axial CT slices, named by their place from the feet up."""
    rng = np.random.Generator(np.random.Philox(sum(map(ord, uid))))
    paths = []
    for n in range(10):
        data = Dataset()
        data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        data.SOPInstanceUID = f"{uid}.{n + 1}"
        data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.9", uid
        data.Modality, data.PatientID, data.InstanceNumber = "CT", "P1", n + 1
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.ImagePositionPatient = [0, 0, 3.0 * n]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.Rows, data.Columns = [1, 1], 8, 9
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation, data.RescaleSlope, data.RescaleIntercept = 1, 1, -1000
        data.PixelData = rng.integers(0, 1500, (8, 9)).astype("<i2").tobytes()
        for keyword, value in elements.items():
            setattr(data, keyword, value)
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = syntax
        path = folder / names.format(n + first)
        folder.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(path, data, enforce_file_format=True)
        paths.append(path)
    return paths


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def take(tmp_path: Path, archive: Path, key_file: Path) -> Take:
    def run() -> Store:
        store = tmp_path / "store"
        ingest(IngestConfig(archive=archive, store=store, workers=1, key_file=key_file))
        return open_store(store)

    return run


def ends(store: Store) -> list[str]:
    series = store.rejected[store.rejected["kind"] == "series"]
    return sorted(
        [f"{row.reason} {row.detail}" for row in series.itertuples()]
        + ["taken"] * len(store.manifest)
    )


BESIDE = "MISSING_SLICE 1 damaged file beside it may be its slice"
CERTAIN = "MISSING_SLICE 1 damaged files of this series do not tell their position"


@pytest.mark.parametrize(
    ("names", "content"),
    [
        ("IM{:04}.dcm", b""),
        ("{}", b"\0" * 900),
        ("1.2.{}", b"<html>404</html>"),
        ("c0ffee{:02x}", b""),
    ],
)
def test_the_last_slice_of_a_series_is_never_lost_in_silence(
    archive: Path, take: Take, names: str, content: bytes
) -> None:
    files = write_series(archive / "a", "1.2.3", names)
    write_series(archive / "b", "1.2.4", names)
    sound = files[9].read_bytes()
    files[9].write_bytes(content)
    assert ends(take()) == [BESIDE, "taken"]
    files[9].write_bytes(sound)
    assert ends(take()) == ["taken", "taken"]


def test_the_series_is_taken_once_the_damaged_file_is_gone(archive: Path, take: Take) -> None:
    files = write_series(archive / "a", "1.2.3")
    stray = archive / "a" / "IM0011.dcm"
    stray.write_bytes(b"")
    assert ends(take()) == [BESIDE]
    assert ends(take()) == [BESIDE]
    stray.unlink()
    assert ends(take()) == ["taken"]
    assert files[0].exists()


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2", "IM0099.dcm"),
        ("1.2.840.10008.1.2.1", "elsewhere"),
        ("1.2.840.10008.1.2.2", "IM0099.dcm"),
    ],
)
def test_the_uid_in_the_bytes_ties_a_file_to_its_series_wherever_it_lies(
    archive: Path, take: Take, syntax: str, name: str
) -> None:
    files = write_series(archive / "a", "1.2.3", syntax=syntax)
    write_series(archive / "b", "1.2.4")
    content = bytearray(files[9].read_bytes())
    at = content.index(b"1.2.3.10", 200)
    content[128:132] = b"xxxx"  # no longer DICOM by its first bytes
    content[at : at + 8] = b"\xff" * 8
    (archive / "b" / name).write_bytes(content)
    files[9].unlink()
    assert ends(take()) == [CERTAIN, "taken"]
    assert ends(take()) == [CERTAIN, "taken"]


def test_a_damaged_copy_of_a_sound_instance_costs_nothing(archive: Path, take: Take) -> None:
    files = write_series(archive / "a", "1.2.3")
    content = files[9].read_bytes()
    (archive / "a" / "IM0099.dcm").write_bytes(content[:128] + b"xxxx" + content[132:])
    assert ends(take()) == ["taken"]


def test_a_damaged_file_of_a_series_that_is_not_there_costs_nothing(
    archive: Path, take: Take
) -> None:
    other = write_series(archive / "b", "1.2.4")
    content = other[0].read_bytes()
    shutil.rmtree(archive / "b")
    write_series(archive / "a", "1.2.3")
    (archive / "a" / "IM0011.dcm").write_bytes(content[:128] + b"xxxx" + content[132:])
    assert ends(take()) == ["taken"]


def test_a_sound_file_of_the_same_name_stands_for_the_damaged_one(
    archive: Path, take: Take
) -> None:
    write_series(archive / "a", "1.2.3", "IM{:04}.dcm")
    write_series(archive / "a", "1.2.3", "IM{:04}")[9].write_bytes(b"")
    assert [end for end in ends(take()) if end != "taken"] == []


def test_a_damaged_file_in_a_copied_folder_costs_nothing(archive: Path, take: Take) -> None:
    files = write_series(archive / "a", "1.2.3")
    shutil.copytree(archive / "a", archive / "again")
    (archive / "again" / "IM0010.dcm").write_bytes(b"")
    assert ends(take()) == ["taken"]
    files[9].write_bytes(b"")
    assert ends(take()) == ["MISSING_SLICE 2 damaged files beside it may be its slices"]


def test_a_series_that_is_whole_by_its_own_count_is_taken(archive: Path, take: Take) -> None:
    write_series(archive / "a", "1.2.3", ImagesInAcquisition=10)
    write_series(archive / "b", "1.2.4", ImagesInAcquisition=11)
    for folder in "ab":
        (archive / folder / "IM0011.dcm").write_bytes(b"")
    assert ends(take()) == [BESIDE, "taken"]


def test_another_name_or_another_folder_is_no_neighbour(archive: Path, take: Take) -> None:
    write_series(archive / "a", "1.2.3")
    (archive / "a" / "notes").write_bytes(b"")
    (archive / "a" / "IM0011.dcm.part").write_bytes(b"")
    (archive / "a" / "below").mkdir()
    (archive / "a" / "below" / "IM0011.dcm").write_bytes(b"")
    assert ends(take()) == ["taken"]


def test_between_two_series_of_one_folder_the_numbering_decides(archive: Path, take: Take) -> None:
    """After the last file of the first series comes instance 1 of the second, which is whole."""
    files = write_series(archive, "1.2.3", "IM00{:02}.dcm")
    other = write_series(archive, "1.2.4", "IM00{:02}.dcm", first=11)
    sound = files[9].read_bytes()
    files[9].write_bytes(b"")
    assert ends(take()) == [BESIDE, "taken"]
    files[9].write_bytes(sound)
    other[0].write_bytes(b"")
    assert ends(take()) == [BESIDE, BESIDE]


def test_two_damaged_files_in_a_row_reach_the_series_beyond(archive: Path, take: Take) -> None:
    files = write_series(archive, "1.2.3", "IM00{:02}.dcm")
    write_series(archive, "1.2.4", "IM00{:02}.dcm", first=11)
    files[9].write_bytes(b"")
    files[8].write_bytes(b"")
    two = "MISSING_SLICE 2 damaged files beside it may be its slices"
    assert ends(take()) == [two, "taken"]


def test_where_the_names_say_nothing_nothing_is_guessed(archive: Path, take: Take) -> None:
    write_series(archive / "a", "1.2.3", "IM{:04}.dcm")
    write_series(archive / "a", "1.2.4", "IM1{:03}.dcm")
    (archive / "a" / "IM2000.dcm").write_bytes(b"")
    assert ends(take()) == ["taken", "taken"]


def test_of_two_series_with_names_of_their_own_the_damaged_name_picks_one(
    archive: Path, take: Take
) -> None:
    write_series(archive, "1.2.3", "S1_{}.dcm")
    write_series(archive, "1.2.4", "S2_{}.dcm")
    (archive / "S1_20.dcm").write_bytes(b"")
    assert ends(take()) == [BESIDE, "taken"]


def test_a_number_within_the_run_of_slices_or_before_the_first_is_none_of_them() -> None:
    def stack(names: tuple[int, ...], first: int = 3) -> list[Any]:
        return [
            SimpleNamespace(path=Path(f"a/IM{n:04}.dcm"), instance_number=first + i)
            for i, n in enumerate(names)
        ]

    def count(name: str, files: list[Any]) -> int:
        instances = {h.path: str(n) for n, h in enumerate(files)}
        return may_be_slices([Path("a") / name], files, instances)

    regular = stack((11, 12, 13, 15, 16))
    assert count("IM0014.dcm", regular) == 0
    assert count("IM0014.dcm", regular[::-1]) == 0
    assert count("IM0017.dcm", regular) == 1
    assert count("IM0010.dcm", regular) == 1
    assert count("IM0014.dcm", [regular[i] for i in (2, 0, 4, 1, 3)]) == 1
    together = stack((11, 12, 13), first=1)
    assert count("IM0010.dcm", together) == 0
    assert count("IM0014.dcm", together) == 1
    assert count("IM0010.dcm", stack((11, 12, 13), first=2)) == 1
    assert count("XX0010.dcm", together) == 1
    constant = stack((11, 12, 13))
    for header in constant:
        header.instance_number = 1
    assert count("IM0010.dcm", constant) == 1
    together[1].instance_number = None
    assert count("IM0010.dcm", together) == 1


def test_of_several_uids_in_the_bytes_the_series_own_counts(tmp_path: Path) -> None:
    def element(tag: bytes, value: bytes) -> bytes:
        return tag + b"UI" + len(value).to_bytes(2, "little") + value

    referenced = element(b"\x20\0\x0e\0", b"9.9.9.9 ")
    own = element(b"\x20\0\x0d\0", b"1.2\0") + element(b"\x20\0\x0e\0", b"1.2.3\0")
    path = tmp_path / "file"
    path.write_bytes(element(b"\x08\0\x18\0", b"1.2.3.4\0") + referenced + b"junk" + own)
    expected = f"{KEY.hmac('cases series', '1.2.3')} {KEY.hmac('instance', '1.2.3.4')}"
    assert tags_in_bytes(KEY, path) == expected
    path.write_bytes(referenced)
    assert tags_in_bytes(KEY, path) == KEY.hmac("cases series", "9.9.9.9")
    path.write_bytes(b"\x20\0\x0e\0UI\xff\xff" + b"1" * 300)
    assert tags_in_bytes(KEY, path) == ""
    assert tags_in_bytes(KEY, tmp_path / "absent") == ""
    for cut in (referenced[:-2], referenced[:6] + b"\x04\0" + referenced[8:]):
        path.write_bytes(cut)  # a part of a UID is no UID
        assert tags_in_bytes(KEY, path) == ""
