"""What a run did and what the store now holds, in numbers and in lines for the reader."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from medssl.archive.cases import Cases
from medssl.archive.reasons import Reason
from medssl.store.parts import read_columns
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
        from medssl.report.quality_facts import count_of  # loads pandas

        run = self.run
        kinds = ", ".join(f"{n} {kind}" for kind, n in run.by_kind.items() if n)
        out = [
            f"{run.files} files in {self.seconds:.1f} s ({kinds or 'none'}; {run.links} links and "
            f"{run.repeats} repeated places passed over); {run.units_read} series or files read, "
            f"{run.units_unchanged} unchanged"
        ]
        volumes, patients = count_of(self.num_volumes), count_of(self.patients, "patient")
        out.append(f"the store holds {volumes} of {patients}")
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
    classes: dict[str, dict[str, int]] = {}
    labels = _counted(root, "labels", "name", "kind", "value")
    for (name, kind, value), number in sorted(labels.items()):
        if kind == "class":
            classes.setdefault(name, {})[value] = number
    taken = _counted(root, "manifest", "modality", "outcome")
    corrections: Counter[str] = Counter()
    for (codes,), number in _counted(root, "manifest", "corrections").items():
        corrections.update(dict.fromkeys(filter(None, codes.split("+")), number))
    counts = refresh_counts(root)
    return IngestResult(
        store=root,
        run=run,
        taken={(modality, outcome): n for (modality, outcome), n in taken.items()},
        patients=counts["patients"],
        rejected={reason: n for (reason,), n in _counted(root, "rejected", "reason").items()},
        corrections=dict(corrections),
        masks=counts["masks"],
        classes=classes,
        unmatched_rows=cases.unmatched(),
        ambiguous_rows=cases.ambiguous_lines(),
        seconds=seconds,
    )


def refresh_counts(root: Path) -> dict[str, int]:
    """Count volumes, patients, masks and rejected rows, and write them to store.json."""
    patients = _counted(root, "manifest", "patient_key")
    kinds = _counted(root, "labels", "kind")
    counts = {
        "volumes": sum(patients.values()),
        "patients": len(patients),
        "masks": kinds.get(("mask",), 0),
        "rejected": sum(_counted(root, "rejected", "kind").values()),
    }
    about = json.loads((root / "store.json").read_text(encoding="utf-8"))
    write_about(root, {**about, "counts": counts})
    return counts


def _counted(root: Path, kind: str, *names: str) -> dict[tuple[str, ...], int]:
    """How often each combination of values occurs in a table."""
    table = read_columns(root, kind, names)
    groups = table.group_by(list(names)).aggregate([([], "count_all")]).to_pylist()
    return {tuple(g[n] or "" for n in names): g["count_all"] for g in groups}


def _reason_line(code: str, number: int) -> str:
    return f"  {code} {number}: {Reason[code].text}"
