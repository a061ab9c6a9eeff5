"""What a run did and what the store now holds, in numbers and in lines for the reader."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medssl.archive.cases import Cases
from medssl.archive.reasons import Reason
from medssl.store.writer import write_about

_KIND_NAMES = {
    "dicom": "DICOM",
    "nifti": "NIfTI",
    "pair data": "voxels of a NIfTI pair",
    "side": "side files: tables, texts, directories of media",
    "refused": "not read as a scan",
}


@dataclass(frozen=True)
class RunCounts:
    """What one run saw and did; `by_kind` counts files by what they are."""

    files: int
    by_kind: dict[str, int]
    links: int
    repeats: int
    units_read: int
    units_unchanged: int
    masked_voxels: int

    def seen(self) -> dict[str, int]:
        """Files by what they are, in words, and what was passed over."""
        return {
            **{_KIND_NAMES.get(kind, kind): number for kind, number in self.by_kind.items()},
            "links, not followed": self.links,
            "places reached before": self.repeats,
        }


@dataclass(frozen=True)
class IngestResult:
    """The store as it is after a run, and the run.

    Attributes:
        taken: volumes by (modality, outcome).
        rejected: rows of rejected/ by reason code.
        corrections: volumes by correction.
        masks: volumes with a mask.
        classes: of each class label, volumes by class.
        unmatched_rows: lines of the cases file that found no scan.
        ambiguous_rows: lines whose name fits several files.
    """

    store: Path
    run: RunCounts
    taken: dict[tuple[str, str], int]
    patients: int
    rejected: dict[str, int]
    corrections: dict[str, int] = field(default_factory=dict)
    masks: int = 0
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    unmatched_rows: list[int] = field(default_factory=list)
    ambiguous_rows: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def num_volumes(self) -> int:
        return sum(self.taken.values())

    @property
    def num_rejected(self) -> int:
        return sum(self.rejected.values())

    def lines(self) -> list[str]:
        """The summary for a reader, without paths but that of the store."""
        run = self.run
        kinds = ", ".join(f"{n} {kind}" for kind, n in run.by_kind.items() if n)
        out = [
            f"{run.files} files in {self.seconds:.1f} s ({kinds or 'none'}; {run.links} links and "
            f"{run.repeats} repeated places passed over); {run.units_read} series or files read, "
            f"{run.units_unchanged} unchanged"
        ]
        out.append(f"the store holds {self.num_volumes} volumes of {self.patients} patients")
        for (modality, outcome), number in sorted(self.taken.items()):
            out.append(f"  {modality} {outcome:<9} {number:>7}")
        out += [_reason_line(code, n) for code, n in sorted(self.corrections.items())]
        if run.masked_voxels:
            out.append(f"  {run.masked_voxels} voxels were masked in this run")
        if self.masks:
            out.append(f"masks: {self.masks} volumes")
        for name, classes in sorted(self.classes.items()):
            shown = ", ".join(f"{value}: {number}" for value, number in sorted(classes.items()))
            out.append(f"class {name}: {shown}")
        if self.rejected:
            out.append(f"not taken, or to be looked at: {self.num_rejected}")
            out += [_reason_line(code, n) for code, n in sorted(self.rejected.items())]
        for lines, what in (
            (self.unmatched_rows, "found no scan"),
            (self.ambiguous_rows, "fit several files"),
        ):
            if lines:
                out.append(f"cases: {len(lines)} rows {what}")
        out.append(f"quality: {self.store / 'quality.html'}")
        out.append(
            f"store: {self.store}  next: medssl pretrain CONFIG --out RUN --set store={self.store}"
        )
        return out


def summarise(root: Path, run: RunCounts, cases: Cases, seconds: float) -> IngestResult:
    """Count what the store holds, reading few columns, and write the counts to store.json."""
    manifest = _columns(root, "manifest", ["patient_key", "modality", "outcome", "corrections"])
    labels = _columns(root, "labels", ["volume_uid", "name", "kind", "value"])
    rejected = _columns(root, "rejected", ["reason"])
    taken = Counter(zip(manifest["modality"], manifest["outcome"], strict=True))
    corrections = Counter(c for codes in manifest["corrections"] for c in codes.split("+") if c)
    classes: dict[str, Counter[str]] = {}
    masks = 0
    for name, kind, value in zip(labels["name"], labels["kind"], labels["value"], strict=True):
        masks += kind == "mask"
        if kind == "class":
            classes.setdefault(name, Counter())[value] += 1
    result = IngestResult(
        store=root,
        run=run,
        taken=dict(taken),
        patients=len(set(manifest["patient_key"])),
        rejected=dict(Counter(rejected["reason"])),
        corrections=dict(corrections),
        masks=masks,
        classes={name: dict(counts) for name, counts in classes.items()},
        unmatched_rows=cases.unmatched(),
        ambiguous_rows=cases.ambiguous_lines(),
        seconds=seconds,
    )
    about = json.loads((root / "store.json").read_text(encoding="utf-8"))
    counts = {
        "volumes": result.num_volumes,
        "patients": result.patients,
        "masks": masks,
        "rejected": result.num_rejected,
    }
    write_about(root, {**about, "counts": counts})
    return result


def _columns(root: Path, folder: str, names: list[str]) -> dict[str, list[str]]:
    parts = sorted((root / folder).glob("*.parquet"))
    if not parts:
        return {name: [] for name in names}
    table = pa.concat_tables(pq.read_table(part, columns=names) for part in parts)
    return {name: table[name].to_pylist() for name in names}


def _reason_line(code: str, number: int) -> str:
    return f"  {code} {number}: {Reason[code].text}"
