"""Writing every hazard, and beside them the table of how each must end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medssl.errors import ConfigError
from medssl.progress import SILENT, Progress
from medssl.sample.hazards import (
    decoding,
    finding,
    intensity,
    labels,
    nifti,
    objects,
    packed,
    series,
)
from medssl.sample.hazards.hazard import End, Hazard, told
from medssl.sample.hazards.place import Place
from medssl.sample.tables import write_csv

HAZARDS: dict[str, tuple[Hazard, ...]] = {
    "finding files": finding.HAZARDS,
    "packed files": packed.HAZARDS,
    "decoding": decoding.HAZARDS,
    "intensity": intensity.HAZARDS,
    "series into volumes": series.HAZARDS,
    "objects that are no scan": objects.HAZARDS,
    "NIfTI": nifti.HAZARDS,
    "labels": labels.HAZARDS,
}
LATE = "run again after late/ was copied in"

_README = """\
Every folder of archive/ is one hazard of a hospital archive. hazards.csv says what was done in
each, and how it must end. To see how it ends here:

    medssl keygen check.key
    medssl ingest archive --out store --key-file check.key --linkage linkage.parquet

The summary counts what was taken and what was set aside, and why; the linkage file tells the end
of each folder. The column `setting` of hazards.csv holds a line for a file given by --config; such
a row is for that folder alone:

    echo 'irregular_spacing: resample' > setting.yaml
    medssl ingest archive/irregular-spacing --config setting.yaml --out store2 --key-file check.key

To run all of it, and compare every end, and every voxel in its place with truth/:

    python pipelines/check_hazards.py THIS_FOLDER

Nothing here comes from a patient.
"""


@dataclass(frozen=True)
class HazardsResult:
    """Where everything is.

    Attributes:
        archive: a folder for each hazard.
        table: CSV: how each must end.
        truth: true voxels, a folder for each hazard of which something must be taken.
        hazards: how many.
    """

    archive: Path
    table: Path
    truth: Path
    hazards: int


def write_hazards(
    out: Path, names: Sequence[str] = (), progress: Progress = SILENT
) -> HazardsResult:
    """Write every hazard, or those named, each in a folder of its own.

    Raises:
        ConfigError: `out` holds something already, or there is no hazard of a name.
    """
    known = {h.name: (table, h) for table, hazards in HAZARDS.items() for h in hazards}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ConfigError(f"no hazard {unknown[0]}; there are: {', '.join(sorted(known))}")
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty; choose another folder, or empty it")
    chosen = [known[name] for name in names or known]
    progress.start("hazards", len(chosen))
    for _, hazard in chosen:
        hazard.write(Place(out, hazard.name))
        progress.advance()
    progress.finish()
    write_csv(out / "hazards.csv", [row for table, h in chosen for row in _rows(table, h)])
    (out / "README.txt").write_text(_README, encoding="utf-8")
    return HazardsResult(out / "archive", out / "hazards.csv", out / "truth", len(chosen))


def _rows(table: str, hazard: Hazard) -> Iterator[dict[str, str | int]]:
    """A row for the plain run, and one for each setting under which the end is another."""
    runs: list[tuple[str, tuple[End, ...]]] = [("", hazard.ends), *hazard.under]
    if hazard.late:
        runs.append((LATE, hazard.late))
    for setting, ends in runs:
        yield {
            "folder": hazard.name,
            "table": table,
            "what": hazard.what,
            "setting": setting,
            "expected": told(ends),
            "reasons": " ".join(sorted({c for e in ends for c in e.reasons.split("+") if c})),
            "notes": " ".join(sorted({c for e in ends for c in e.notes.split("+") if c})),
            "volumes": sum(e.number for e in ends if e.is_volume),
            "masks": sum(e.number for e in ends if e.is_mask),
            "ignored": hazard.ignored,
        }
