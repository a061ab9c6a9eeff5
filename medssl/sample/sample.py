"""Writing the sample archive: a hospital's folders, and beside them the truth about them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from medssl.errors import ConfigError
from medssl.progress import SILENT, Progress
from medssl.sample import damage
from medssl.sample.dicom import Series, write_series
from medssl.sample.draws import Stream, generator
from medssl.sample.expected import Expected
from medssl.sample.head import render_head
from medssl.sample.patients import Patient, draw_patient, needles
from medssl.sample.scanners import ct_image, dicom_grid, mr_image, nifti_grid
from medssl.sample.tables import write_cases, write_csv
from medssl.sample.torso import render_torso
from medssl.volume import Affine, Array

_FEWEST = 6
_FLAT_NAMES = "disk_b/flat"


@dataclass(frozen=True)
class SampleResult:
    """Where everything is.

    Attributes:
        archive: the hospital's folders, for `medssl ingest`.
        cases: CSV for `--cases`: sites, ages, and the class label `lesion` of the CT series.
        expected: CSV: how each series and file must end.
        truth: NIfTI of the true voxels of each series, and of the lesions.
        needles: text file of everything that identifies a (made-up) person, one a line.
        patients: how many.
    """

    archive: Path
    cases: Path
    expected: Path
    truth: Path
    needles: Path
    patients: int


def write_sample(
    out: Path, patients: int = 24, seed: int = 0, progress: Progress = SILENT
) -> SampleResult:
    """Write a synthetic hospital archive with known truth; the same seed gives the same bytes.

    Every patient has a CT of the torso, every second an MR of the head, each other a NIfTI of the
    abdomen with a mask of organs. One of each two neighbours has a lesion in the CT. Patients are
    the same however many there are.

    Raises:
        ConfigError: `out` holds something already, or there are fewer than six patients.
    """
    if patients < _FEWEST:
        raise ConfigError(f"--patients {patients}: at least {_FEWEST}, so that each hazard has one")
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty; choose another folder, or empty it")
    everybody = [draw_patient(seed, number) for number in range(patients)]
    result = SampleResult(
        archive=out / "archive",
        cases=out / "cases.csv",
        expected=out / "expected.csv",
        truth=out / "truth",
        needles=out / "needles.txt",
        patients=patients,
    )
    result.archive.mkdir(parents=True)
    progress.start("sample archive", patients)
    rows: list[Expected] = []
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for written in pool.map(lambda patient: list(_write_patient(result, patient)), everybody):
            rows += written
            progress.advance()
    rows += damage.write_screen_save(result.archive, everybody[4])
    rows += damage.write_junk(result.archive)
    progress.finish()
    write_cases(result.cases, everybody)
    write_csv(result.expected, [row.cells() for row in rows])
    result.needles.write_text("\n".join(needles(everybody)) + "\n", encoding="utf-8")
    return result


def _write_patient(result: SampleResult, patient: Patient) -> Iterator[Expected]:
    yield from _write_ct(result, patient)
    if patient.mr_scanner is not None:
        yield from _write_mr(result, patient)
    if patient.has_nifti:
        yield from _write_nifti(result, patient)


def _write_ct(result: SampleResult, patient: Patient) -> Iterator[Expected]:
    scanner = patient.ct_scanner
    grid = dicom_grid(scanner)
    torso = render_torso(
        patient.seed, patient.number, grid, patient.has_lesion, patient.scale, patient.contrast
    )
    rng = generator(patient.seed, patient.number, Stream.TORSO_NOISE)
    values = ct_image(torso.hounsfield, scanner.noise, rng)
    series = Series(patient, scanner, grid, values, "CT", 2, f"Torso {patient.name}",
                    ("ORIGINAL", "PRIMARY", "AXIAL"))  # fmt: skip
    paths = series_paths(result.archive, series)
    write_series(series, paths)
    if patient.has_lesion:
        name = f"lesions/patient_{patient.number + 1:04d}.nii.gz"
        _write_nii(result.truth / name, torso.lesions, grid.affine)
    if patient.number == 2:
        yield _taken(result, series, paths, "CORRECTED", damage.duplicate_slice(series, paths))
    else:
        yield _taken(result, series, paths)
    if patient.number == 1:
        yield from damage.write_broken_series(result.archive, series)
    if patient.number == 3:
        yield from damage.write_localizer(result.archive, series)


def _write_mr(result: SampleResult, patient: Patient) -> Iterator[Expected]:
    scanner = patient.mr_scanner
    assert scanner is not None
    grid = dicom_grid(scanner)
    atrophy = float(np.clip((patient.age - 35) / 55, 0, 1))
    signal = render_head(patient.seed, patient.number, grid, patient.head_scale, atrophy)
    rng = generator(patient.seed, patient.number, Stream.HEAD_NOISE)
    values = mr_image(signal, grid, scanner.noise, float(rng.uniform(0.7, 1.6)), rng)
    series = Series(patient, scanner, grid, values, "MR", 4, "T1 MPRAGE",
                    ("ORIGINAL", "PRIMARY", "M", "ND"))  # fmt: skip
    paths = series_paths(result.archive, series)
    write_series(series, paths)
    yield _taken(result, series, paths)


def _write_nifti(result: SampleResult, patient: Patient) -> Iterator[Expected]:
    grid = nifti_grid(patient.number // 2)
    torso = render_torso(
        patient.seed, patient.number, grid, patient.has_lesion, patient.scale, patient.contrast
    )
    rng = generator(patient.seed, patient.number, Stream.ABDOMEN_NOISE)
    values = ct_image(torso.hounsfield, 14.0, rng)
    name = patient.nifti_name
    for kind, voxels in (("image", values), ("label", torso.organs)):
        path = result.archive / f"abdomen/{kind}s/{name}.nii.gz"
        _write_nii(path, voxels, grid.affine)
        where = path.relative_to(result.archive).as_posix()
        truth = path.relative_to(result.archive.parent).as_posix()
        yield Expected(kind, where, name, patient.patient_id, "CT", "EXACT", "", 1, truth)


def series_paths(archive: Path, series: Series) -> list[Path]:
    """Where the slices go: four customs of naming, two of them with the patient's name."""
    patient, count = series.patient, len(series.values)
    custom = patient.number % 4
    if custom == 0:
        folder = (
            archive / f"PACS/{patient.patient_id}/{patient.scanned:%Y%m%d}/SE{series.number:04d}"
        )
        return [folder / f"IM{k + 1:06d}" for k in range(count)]
    if custom == 1:
        folder = archive / f"export 2019/{patient.name} {series.kind}"
        return [folder / f"{patient.uid('instance', series.kind, k)}.dcm" for k in range(count)]
    if custom == 2:
        # One folder for everybody; names say neither the series nor the order.
        uids = [patient.uid("file", series.kind, k)[5:17] for k in range(count)]
        return [archive / _FLAT_NAMES / uid for uid in uids]
    folder = archive / f"teaching/{patient.accession}/{series.kind.lower()}"
    return [folder / f"image.{k:03d}.ima" for k in range(count)]


def _taken(
    result: SampleResult,
    series: Series,
    paths: list[Path],
    end: str = "EXACT",
    reason: str = "",
) -> Expected:
    """A series that must be read, and its true voxels beside."""
    patient = series.patient
    name = f"truth/{series.kind.lower()}/patient_{patient.number + 1:04d}.nii.gz"
    _write_nii(result.archive.parent / name, series.values, series.grid.affine)
    where = paths[0].parent.relative_to(result.archive).as_posix()
    count = len(paths) + (end == "CORRECTED")
    modality = series.scanner.modality
    return Expected(
        "series", where, series.uid, patient.patient_id, modality, end, reason, count, name
    )


def _write_nii(path: Path, voxels: Array, affine: Affine) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.ascontiguousarray(voxels), affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
