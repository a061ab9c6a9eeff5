"""Boxes decoded by the C library: the numbers of numpy, whatever is read, damaged or shared."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import blosc2
import numpy as np
import psutil
import pytest

from medssl.errors import StoreError
from medssl.store import b2nd
from medssl.store.b2nd import ChunkedArray, open_array, read_attributes
from medssl.store.voxels import Rescale, read_stored, write_voxels
from medssl.volume import Array, Box

SHAPES = [(1, 1, 1), (3, 70, 65), (130, 5, 33), (64, 64, 64), (20, 1, 97)]


@pytest.fixture(params=["library", "python"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With blosc2's C library, and as where there is none."""
    if request.param == "python":
        monkeypatch.setattr(b2nd, "c_library", lambda: None)
    elif b2nd.c_library() is None:
        pytest.skip("this blosc2 carries no C library")


def stored(
    path: Path, shape: tuple[int, int, int], dtype: str = "i2"
) -> tuple[ChunkedArray, Array]:
    rng = np.random.default_rng(7)
    array = rng.normal(100, 40, shape).clip(0, 255).astype(dtype)
    write_voxels(path, array, Rescale(2.0, -1024.0))
    return open_array(path), array


def cut(array: Array, box: Box) -> Array:
    return array[tuple(slice(start, stop) for start, stop in box)]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_random_boxes(tmp_path: Path, shape: tuple[int, int, int], dtype: str) -> None:
    opened, array = stored(tmp_path / "v.b2nd", shape, dtype)
    assert (opened.shape, opened.dtype, opened.nbytes) == (shape, array.dtype, array.nbytes)
    np.testing.assert_array_equal(opened.read(), array)
    rng = np.random.default_rng(0)
    for _ in range(8):
        d, h, w = (sorted(rng.integers(0, n + 1, 2).tolist()) for n in shape)
        box = ((d[0], d[1]), (h[0], h[1]), (w[0], w[1]))  # empty now and then
        read = opened.read(box)
        np.testing.assert_array_equal(read, cut(array, box))
        assert read.dtype == array.dtype
        own = blosc2.open(str(opened.path))[tuple(slice(*ends) for ends in box)]
        np.testing.assert_array_equal(read, own)


def test_the_pinned_blosc2_carries_the_library() -> None:
    assert b2nd.c_library() is not None


@pytest.mark.usefixtures("either_way")
def test_a_box_ends_where_the_array_does(tmp_path: Path) -> None:
    opened, array = stored(tmp_path / "v.b2nd", (20, 40, 33))
    for box in (
        ((15, 90), (0, 999), (30, 34)),
        ((20, 24), (0, 4), (0, 4)),
        ((3, 2), (0, 4), (0, 4)),
    ):
        np.testing.assert_array_equal(opened.read(box), cut(array, box))


@pytest.mark.usefixtures("either_way")
def test_decodes_into_memory_that_it_is_given(tmp_path: Path) -> None:
    opened, array = stored(tmp_path / "v.b2nd", (20, 40, 33))
    memory = np.full((2, *array.shape), -1, array.dtype)
    opened.read(into=memory[0])
    np.testing.assert_array_equal(memory[0], array)
    assert (memory[1] == -1).all()


@pytest.mark.usefixtures("either_way")
def test_many_threads_read_one_file_and_several(tmp_path: Path) -> None:
    files = [stored(tmp_path / f"{n}.b2nd", (40, 70 + n, 65)) for n in range(3)]

    def reads_right(number: int) -> bool:
        opened, array = files[number % 3]
        low = number % 30
        box = ((low, low + 9), (2 * low, 2 * low + 33), (0, 50))
        return np.array_equal(opened.read(box), cut(array, box))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(reads_right, range(240)))


@pytest.mark.usefixtures("either_way")
def test_a_missing_file_is_named_by_its_place_in_the_store(tmp_path: Path) -> None:
    path = tmp_path / "volumes" / "ab" / "abcd.b2nd"
    opened, _ = stored(path, (4, 5, 6))
    path.unlink()
    for read in (lambda: opened.read(((0, 2), (0, 2), (0, 2))), lambda: open_array(path)):
        with pytest.raises(
            StoreError, match=r"voxels volumes/ab/abcd\.b2nd are missing or damaged"
        ):
            read()


@pytest.mark.usefixtures("either_way")
def test_a_file_replaced_by_a_smaller_one_gives_no_numbers(tmp_path: Path) -> None:
    opened, _ = stored(tmp_path / "v.b2nd", (70, 70, 70))
    stored(tmp_path / "v.b2nd", (10, 10, 10))
    with pytest.raises(StoreError, match="missing or damaged"):
        opened.read(((40, 60), (40, 60), (40, 60)))


@pytest.mark.usefixtures("either_way")
def test_attributes(tmp_path: Path) -> None:
    path = tmp_path / "v.b2nd"
    slopes = np.linspace(0.1, 0.9, 300)
    write_voxels(path, np.zeros((300, 2, 2), "i2"), Rescale(slopes, -3.0))
    read = read_attributes(path, "slope", "nothing", "intercept")
    assert read == {"slope": slopes.tolist(), "intercept": -3.0}
    with pytest.raises(StoreError, match="missing or damaged"):
        read_attributes(tmp_path / "nowhere.b2nd", "slope")


def test_a_process_that_goes_on_reading_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "v.b2nd"
    write_voxels(path, np.zeros((4000, 2, 2), "i2"), Rescale(np.linspace(0.1, 0.9, 4000), -3.0))
    process = psutil.Process()
    for _ in range(100):
        read_stored(path)
    before = process.memory_info().rss
    for _ in range(1000):  # of 36 kB of slopes each
        read_stored(path)
    assert process.memory_info().rss - before < 8_000_000


def test_something_else_than_three_axes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.b2nd"
    blosc2.asarray(np.zeros((4, 4)), urlpath=str(path), mode="w")
    with pytest.raises(StoreError):
        open_array(path)
    blosc2.asarray(np.zeros((4, 4, 4), "S3"), urlpath=str(path), mode="w")
    with pytest.raises(StoreError):
        open_array(path)


_DAMAGES = """
import random, sys
from pathlib import Path
from medssl.errors import StoreError
from medssl.store import b2nd
from medssl.store.voxels import read_stored

path, way = Path(sys.argv[1]), sys.argv[2]
if way == "python":
    b2nd.c_library = lambda: None
whole = path.read_bytes()
refused = read = 0
for number in range(300):
    rng = random.Random(number)
    damaged = bytearray(whole)
    kind = number % 5
    if kind == 0:
        damaged = damaged[: rng.randrange(len(whole))]
    elif kind == 1:
        at = rng.randrange(len(whole))
        length = min(rng.choice((1, 8, 500)), len(whole) - at)
        damaged[at : at + length] = rng.randbytes(length)
    else:
        part = (range(250), range(len(whole) - 300, len(whole)), range(len(whole)))[kind - 2]
        for _ in range(rng.choice((1, 1, 4, 30))):
            damaged[rng.choice(part)] ^= 1 << rng.randrange(8)
    path.write_bytes(damaged)
    try:
        read_stored(path)
        read += 1
    except StoreError:
        refused += 1
print(refused, read)
"""


@pytest.mark.parametrize("way", ["library", "python"])
def test_damage_ends_in_an_error_and_never_in_a_crash(tmp_path: Path, way: str) -> None:
    path = tmp_path / "v.b2nd"
    stored(path, (20, 70, 65))
    done = subprocess.run(
        [sys.executable, "-c", _DAMAGES, str(path), way],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    refused, read = map(int, done.stdout.split())
    assert refused > 100  # all that are cut short, and most of those with a damaged header
    assert refused + read == 300
