"""From DICOM to a store, beside the readers that people use: python benchmarks/archive.py [FOLDER]

Each peer reads the same series and writes uncompressed NIfTI, the least that it can do; medssl
judges, hashes, de-identifies and writes its compressed store. Every run is a process of its own,
held to one core; the runs of all peers alternate, and the median counts. Rates are given with the
start of the process and without it (what the same command takes on a series of three slices).
Needs the extra `bench`. FOLDER is an archive with one series a folder; without it a CT of
512 x 512 slices is made.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

HEADERS = ("pydicom", "medssl headers")
READERS = ("dcm2niix", "dicom2nifti", "SimpleITK", "MONAI", "medssl")


@dataclass
class Runs:
    """Seconds, seconds of the start alone, peak megabytes (of all processes together) of each run;
    volumes written.
    """

    seconds: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    volumes: int = 0
    fault: str = ""


def main() -> None:
    options = _options()
    if options.peer:
        PEERS[options.peer](Path(options.folder), Path(options.out))
        return
    with tempfile.TemporaryDirectory(dir=options.tmp) as scratch:
        folder = Path(options.folder) if options.folder else Path(scratch) / "made"
        if not options.folder:
            make_ct(folder, options.series, options.slices)
        small = Path(scratch) / "small"
        make_ct(small, 1, 3)
        num_files, megabytes = _warm(folder)
        print(f"{num_files} files, {megabytes:.0f} MB, one core, {options.rounds} rounds")
        table = {peer: Runs() for peer in (*HEADERS, *READERS)}
        for _ in range(options.rounds):
            for peer, runs in table.items():
                start = Runs()
                if peer in READERS:
                    _run(peer, small, Path(scratch) / "out", start)
                _run(peer, folder, Path(scratch) / "out", runs)
                runs.start += start.seconds or [0.0]
    _show(table, num_files)


def make_ct(folder: Path, num_series: int, num_slices: int) -> None:
    """Series of 512 x 512 slices: smooth shapes under scanner noise, stored in 12 of 16 bits."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
    from scipy import ndimage

    rng = np.random.default_rng(7)
    coarse = rng.normal(1000, 600, size=(num_slices // 8 + 2, 16, 16))
    smooth = ndimage.zoom(coarse, (num_slices / len(coarse), 32, 32), order=1)[:num_slices]
    for number in range(num_series):
        voxels = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 4095).astype(np.uint16)
        study, series, frame = (generate_uid() for _ in range(3))
        place = folder / f"series{number:03d}"
        place.mkdir(parents=True)
        for k, pixels in enumerate(voxels):
            ds = Dataset()
            ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
            ds.PatientID, ds.PatientName, ds.StudyDate = f"P{number}", "Made^Up", "20200229"
            ds.Modality, ds.Manufacturer = "CT", "SIEMENS"
            ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            ds.SeriesNumber, ds.InstanceNumber = number + 1, k + 1
            ds.ImagePositionPatient = ["-180", "-180", f"{1.25 * k:.2f}"]
            ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
            ds.PixelSpacing, ds.SliceThickness = ["0.7", "0.7"], "1.25"
            ds.SliceLocation = f"{1.25 * k:.2f}"
            ds.Rows, ds.Columns = pixels.shape
            ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
            ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
            ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
            ds.PixelData = pixels.tobytes()
            ds["PixelData"].VR = "OW"
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.save_as(place / f"IM{k:05d}", enforce_file_format=True)


# --- the peers, each in a process of its own ------------------------------------------------------


def _dcm2niix(folder: Path, out: Path) -> None:
    import dcm2niix

    command = [dcm2niix.bin, "-z", "n", "-f", "%p_%s_%j", "-o", str(out), str(folder)]
    os.execv(command[0], command)


def _dicom2nifti(folder: Path, out: Path) -> None:
    import logging

    import dicom2nifti

    logging.disable(logging.CRITICAL)
    dicom2nifti.convert_directory(str(folder), str(out), compression=False, reorient=False)


def _simpleitk(folder: Path, out: Path) -> None:
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    for number, place in enumerate(_places(folder)):
        reader = SimpleITK.ImageSeriesReader()
        for uid in reader.GetGDCMSeriesIDs(str(place)):
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(place), uid))
            SimpleITK.WriteImage(reader.Execute(), str(out / f"{number}_{uid}.nii"))


def _monai(folder: Path, out: Path) -> None:
    import nibabel
    import torch
    from monai.data import PydicomReader
    from monai.transforms import LoadImage

    torch.set_num_threads(1)
    load = LoadImage(reader=PydicomReader(), image_only=True)
    for number, place in enumerate(_places(folder)):
        image = load(str(place))
        values = np.asarray(image)
        nibabel.save(nibabel.Nifti1Image(values, np.asarray(image.affine)), out / f"{number}.nii")


def _medssl(folder: Path, out: Path) -> None:
    key = out / "key"
    key.write_bytes(bytes(range(64)))
    key.chmod(0o600)
    medssl = str(Path(sys.executable).with_name("medssl"))
    given = ["--out", str(out / "store"), "--key-file", str(key), "--workers", "1"]
    os.execv(medssl, [medssl, "ingest", str(folder), *given])


def _pydicom_headers(folder: Path, out: Path) -> None:
    import pydicom

    files = list(_files(folder))
    began = time.perf_counter()
    for path in files:
        pydicom.dcmread(path, stop_before_pixels=True)
    (out / "seconds").write_text(str(time.perf_counter() - began))


def _medssl_headers(folder: Path, out: Path) -> None:
    from medssl.archive.find import WalkCounts, walk
    from medssl.archive.identity import Key
    from medssl.archive.look import Archive, look

    archive = Archive(folder, Key(bytes(32)))
    files = list(walk(folder, WalkCounts()))
    look(archive, files[0])  # loads what it needs
    began = time.perf_counter()
    for found in files:
        look(archive, found)
    (out / "seconds").write_text(str(time.perf_counter() - began))


PEERS: dict[str, Callable[[Path, Path], None]] = {
    "pydicom": _pydicom_headers,
    "medssl headers": _medssl_headers,
    "dcm2niix": _dcm2niix,
    "dicom2nifti": _dicom2nifti,
    "SimpleITK": _simpleitk,
    "MONAI": _monai,
    "medssl": _medssl,
}


def _places(folder: Path) -> list[Path]:
    """The folders that hold files."""
    return sorted({path.parent for path in _files(folder)})


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


# --- measuring ------------------------------------------------------------------------------------


def _warm(folder: Path) -> tuple[int, float]:
    """Read every file once, so that all peers find it in memory; how many, and how large."""
    sizes = [len(path.read_bytes()) for path in _files(folder)]
    return len(sizes), sum(sizes) / 1e6


def _run(peer: str, folder: Path, out: Path, runs: Runs) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    core = {min(os.sched_getaffinity(0))}
    command = [sys.executable, __file__, str(folder), "--peer", peer, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _resident_mb(process.pid))
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    inner = out / "seconds"  # headers are timed without the start of the process
    runs.seconds.append(float(inner.read_text()) if inner.is_file() else seconds)
    runs.peak_mb.append(peak)
    runs.volumes = len([*out.rglob("*.nii"), *out.glob("store/volumes/*/*.b2nd")])
    if process.returncode:
        assert process.stderr is not None
        lines = process.stderr.read().decode(errors="replace").strip().splitlines()
        runs.fault = lines[-1][:80] if lines else f"exit {process.returncode}"


def _resident_mb(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(p.memory_info().rss for p in family) / 1e6
    except psutil.Error:
        return 0.0


def _show(table: dict[str, Runs], num_files: int) -> None:
    print(f"{'':16}{'files/s':>10}{'started':>10}{'seconds':>10}{'peak MB':>10}{'volumes':>10}")
    whole, running = {}, {}
    for peer, runs in table.items():
        seconds = statistics.median(runs.seconds)
        whole[peer] = num_files / seconds
        running[peer] = num_files / max(1e-9, seconds - statistics.median(runs.start))
        numbers = f"{whole[peer]:10.0f}{running[peer]:10.0f}{seconds:10.2f}"
        numbers += f"{statistics.median(runs.peak_mb):10.0f}{runs.volumes or '':>10}"
        print(f"{peer:16}{numbers}{'  FAILED: ' + runs.fault if runs.fault else ''}")
    ratios = {}
    for peer in READERS[:-1]:
        if not table[peer].fault:
            ratios[f"ingest_vs_{peer.lower()}"] = round(whole["medssl"] / whole[peer], 2)
            ratios[f"started_vs_{peer.lower()}"] = round(running["medssl"] / running[peer], 2)
    ratios["headers_vs_pydicom"] = round(whole["medssl headers"] / whole["pydicom"], 2)
    print(json.dumps(ratios))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="archive with one series a folder")
    parser.add_argument("--series", type=int, default=10, help="of the CT that is made")
    parser.add_argument("--slices", type=int, default=200, help="of each of them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tmp", help="folder for scratch, with room for the archive three times")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
