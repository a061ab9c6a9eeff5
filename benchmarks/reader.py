"""Reading a random patch of a stored CT, beside other formats: python benchmarks/reader.py

Every way stores the same volume of 512 x 512 x 200 voxels, then opens it, reads a box at a random
place and makes float32 values of it: from the page cache, after its pages were dropped (cold), and
by two threads at once. Each runs in a process of its own, in turn; medians of all rounds.
Needs the extra `bench`; zarr takes part where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from measure import SideFailed, run_side, show

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
Values = npt.NDArray[np.float32]
Stored = npt.NDArray[np.int16]

SLOPE, INTERCEPT = 1.0, -1024.0
SIDES = (96, 64)
OURS, KEPT, NNSSL = "medssl store", "medssl store, kept", "b2nd float32 zstd 8 (nnssl)"
_EVERY_SECONDS = 0.25
_UID = "0" * 32


@dataclass(frozen=True)
class Way:
    """A file format: how it is written, and how a box is read from it, opening included.

    `write(path, stored)` makes a file or folder at `path`; `reading(path)` gives what reads a box.
    """

    write: Callable[[Path, Stored], None]
    reading: Callable[[Path], Callable[[Box], Values]]


def main() -> None:
    options = _options()
    if options.way:
        print(json.dumps(_answer(options)))
        return
    with tempfile.TemporaryDirectory(dir=options.tmp, prefix="bench-reader-") as scratch:
        folder = Path(scratch)
        _say("making a CT")
        _make_volume(folder, options)
        names = [name for name in WAYS if not name.startswith("zarr") or _has_zarr()]
        answers: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for number in range(options.rounds):
            for name, given in answers.items():
                _say(f"round {number + 1} of {options.rounds}: {name}")
                arguments = ["--way", name, "--folder", scratch, "--seconds", str(options.seconds)]
                try:
                    given.append(run_side("reader.py", arguments, cores=2))
                except SideFailed as failed:
                    print(f"{name} FAILED: {failed}")
    _show({name: _medians(given) for name, given in answers.items() if given})


# --- the ways -------------------------------------------------------------------------------------


def _values(stored: npt.NDArray[Any]) -> Values:
    """Stored numbers in their own units."""
    values = stored.astype(np.float32)
    values *= np.float32(SLOPE)
    values += np.float32(INTERCEPT)
    return values


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in box)


def _write_nifti(path: Path, stored: Stored) -> None:
    import nibabel

    image = nibabel.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(SLOPE, INTERCEPT)
    nibabel.save(image, path)


def _read_nifti(path: Path) -> Callable[[Box], Values]:
    import nibabel

    def read(box: Box) -> Values:
        return np.asarray(nibabel.load(path).dataobj[_slices(box)], dtype=np.float32)

    return read


def _write_npy(path: Path, stored: Stored) -> None:
    np.save(path, stored)


def _read_npy(path: Path) -> Callable[[Box], Values]:
    return lambda box: _values(np.load(path, mmap_mode="r")[_slices(box)])


def _write_floats(path: Path, stored: Stored) -> None:
    from phantoms import write_zstd_floats

    values = _values(stored)
    values -= values.mean()
    values /= values.std()
    write_zstd_floats(path, values)


def _read_floats(path: Path) -> Callable[[Box], Values]:
    import blosc2

    def read(box: Box) -> Values:
        array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1}, mmap_mode="r")
        return np.asarray(array[(slice(None), *_slices(box))])

    return read


def _write_integers(path: Path, stored: Stored, chunk: int, block: int) -> None:
    import blosc2

    blosc2.asarray(
        stored,
        urlpath=str(path),
        chunks=tuple(min(chunk, n) for n in stored.shape),
        blocks=tuple(min(block, n) for n in stored.shape),
        cparams={"codec": blosc2.Codec.LZ4, "clevel": 5, "nthreads": 1},
        mmap_mode="w+",
    )


def _read_integers(path: Path) -> Callable[[Box], Values]:
    import blosc2

    def read(box: Box) -> Values:
        array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1}, mmap_mode="r")
        return _values(array[_slices(box)])

    return read


def _write_zarr(path: Path, stored: Stored) -> None:
    import zarr

    array = zarr.create_array(
        str(path),
        shape=stored.shape,
        dtype=stored.dtype,
        chunks=(64, 64, 64),
        shards=(256, 256, 256),
        compressors=zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
    )
    array[:] = stored


def _read_zarr(path: Path) -> Callable[[Box], Values]:
    import zarr

    return lambda box: _values(np.asarray(zarr.open_array(str(path), mode="r")[_slices(box)]))


def _write_store(path: Path, stored: Stored) -> None:
    from medssl.store.voxels import Rescale, write_voxels
    from medssl.store.writer import volume_path

    write_voxels(path / volume_path(_UID), stored, Rescale(SLOPE, INTERCEPT))


def _read_store(path: Path, gigabytes: float) -> Callable[[Box], Values]:
    from medssl.augment.cache_config import CacheConfig
    from medssl.augment.reader import Reader
    from medssl.store import open_store

    reader = Reader(open_store(path), CacheConfig(gigabytes=gigabytes))

    def read(box: Box) -> Values:
        stored, _ = reader.read(_UID, box)
        return _values(stored)

    return read


def _integers(chunk: int, block: int) -> Way:
    return Way(partial(_write_integers, chunk=chunk, block=block), _read_integers)


WAYS = {
    ".nii.gz, nibabel": Way(_write_nifti, _read_nifti),
    ".npy int16, mapped": Way(_write_npy, _read_npy),
    NNSSL: Way(_write_floats, _read_floats),
    **{
        f"b2nd int16 lz4 5, {chunk}/{block}": _integers(chunk, block)
        for chunk, block in ((32, 16), (32, 32), (64, 16), (64, 32), (128, 16), (128, 32))
    },
    "zarr 3 int16 lz4, 64/256": Way(_write_zarr, _read_zarr),
    OURS: Way(_write_store, partial(_read_store, gigabytes=0)),
    KEPT: Way(_write_store, partial(_read_store, gigabytes=1)),
}
_SUFFIX = {".nii.gz, nibabel": ".nii.gz", ".npy int16, mapped": ".npy"}


# --- one way, in a process of its own -------------------------------------------------------------


def _answer(options: argparse.Namespace) -> dict[str, float]:
    folder, way = Path(options.folder), WAYS[options.way]
    stored = np.load(folder / "stored.npy")
    place = folder / f"way{list(WAYS).index(options.way)}{_SUFFIX.get(options.way, '')}"
    if options.way in (OURS, KEPT):
        place = folder / "store"  # its manifest stays, its voxels are replaced
    elif place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    began = time.perf_counter()
    way.write(place, stored)
    answer = {"write_s": time.perf_counter() - began}
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    voxels = [path for path in files if "manifest" not in path.parts]
    answer["mb"] = sum(path.stat().st_size for path in voxels) / 1e6
    read = way.reading(place)
    for side in SIDES:
        _check(read, stored, side, options.way)
        one = partial(_one_patch, read, stored.shape, side)
        answer[f"warm_{side}"] = 1000 * _median_seconds(one, options.seconds)
        answer[f"two_threads_{side}"] = 1000 * _seconds_by_two(one, options.seconds)
        if options.way != KEPT:
            answer[f"cold_{side}"] = 1000 * _median_seconds(
                one, options.seconds, before=partial(_forget, files)
            )
    return answer


def _check(read: Callable[[Box], Values], stored: Stored, side: int, name: str) -> None:
    box = _random_box(np.random.default_rng(0), stored.shape, side)
    expected = _values(stored[_slices(box)])
    got = np.asarray(read(box)).reshape(expected.shape)
    assert got.dtype == np.float32, got.dtype
    if name == NNSSL:
        got = (got - got.mean()) / got.std() * expected.std() + expected.mean()
    assert np.allclose(got, expected, atol=0.05), name


def _one_patch(
    read: Callable[[Box], Values], shape: tuple[int, ...], side: int, rng: np.random.Generator
) -> None:
    read(_random_box(rng, shape, side))


def _random_box(rng: np.random.Generator, shape: tuple[int, ...], side: int) -> Box:
    x, y, z = (int(rng.integers(0, n - side + 1)) for n in shape)
    return (x, x + side), (y, y + side), (z, z + side)


def _median_seconds(
    call: Callable[[np.random.Generator], None],
    seconds: float,
    before: Callable[[], None] | None = None,
) -> float:
    rng = np.random.default_rng(1)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        if before:
            before()
        began = time.perf_counter()
        call(rng)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _seconds_by_two(call: Callable[[np.random.Generator], None], seconds: float) -> float:
    """Seconds a patch of two threads that read side by side."""
    counts = [0, 0]
    until = time.perf_counter() + seconds

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        while counts[number] < 2 or time.perf_counter() < until:
            call(rng)
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - began) / sum(counts)


def _forget(files: list[Path]) -> None:
    """Drop the files' pages from memory; needs no rights, but clean pages."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


# --- all of them ----------------------------------------------------------------------------------


def _make_volume(folder: Path, options: argparse.Namespace) -> None:
    """stored.npy, and a store whose one volume every run of medssl writes again."""
    from phantoms import make_store

    from medssl.store.voxels import read_stored
    from medssl.store.writer import volume_path

    make_store(folder / "store", "CT", 1)
    stored, _ = read_stored(folder / "store" / volume_path(_UID))
    np.save(folder / "stored.npy", stored)


def _has_zarr() -> bool:
    return importlib.util.find_spec("zarr") is not None


def _medians(answers: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(a[name] for a in answers) for name in answers[0]}


def _show(table: dict[str, dict[str, float]]) -> None:
    columns = ["write_s", "mb"] + [
        f"{kind}_{side}" for side in SIDES for kind in ("warm", "cold", "two_threads")
    ]
    heads = ["write s", "MB"] + [
        f"{side}³ {kind}" for side in SIDES for kind in ("warm", "cold", "two threads")
    ]
    rows = [
        [name, *(f"{row[c]:.2f}" if c in row else "–" for c in columns), f"{row['peak_mb']:.0f}"]
        for name, row in table.items()
    ]
    show(["ms for one patch", *heads, "peak MB"], rows)
    print(json.dumps({name: round(ratio, 3) for name, ratio in _ratios(table).items()}))


def _ratios(table: dict[str, dict[str, float]]) -> dict[str, float]:
    """Over nnssl's way: how many times faster, and which part of its bytes."""
    if OURS not in table or NNSSL not in table:
        return {}
    ours, peer, kept = table[OURS], table[NNSSL], table.get(KEPT, {})
    ratios = {
        f"read_{side}{tail}_vs_nnssl": peer[f"{kind}_{side}"] / ours[f"{kind}_{side}"]
        for kind, tail in (("warm", ""), ("cold", "_cold"), ("two_threads", "_two_threads"))
        for side in SIDES
    }
    if kept:
        ratios |= {
            f"read_{side}_kept_vs_nnssl": peer[f"warm_{side}"] / kept[f"warm_{side}"]
            for side in SIDES
        }
    ratios["bytes_vs_nnssl"] = ours["mb"] / peer["mb"]
    ratios["write_vs_nnssl"] = peer["write_s"] / ours["write_s"]
    return ratios


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each number of a run")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--tmp", help="folder for scratch, on the disk that is to be measured")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 0.1
    return options


if __name__ == "__main__":
    main()
