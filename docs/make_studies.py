"""Real studies as small archives, and the tables of docs/studies/README.md from what they hold.

    python docs/make_studies.py STUDY     # pack the folder of a study, named like it, then
    python docs/make_studies.py           # make the tables again from the archives alone

An archive holds what a study needs to be audited elsewhere (docs/reference/study-schema.md):
neither weights, logs and trials, nor anything that holds voxels of a scan. Of a segmentation's
predicted masks it holds those that the audit compares. Packed twice, it has the same bytes.
"""

from __future__ import annotations

import json
import lzma
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

from make_methods import table, with_tables

FOLDER = Path(__file__).parent / "studies"
PAGE = FOLDER / "README.md"
TRAVELS = (
    *("config.yaml", "plan.json", "claim.yaml", "ledger.jsonl", "analysis.json", "curve.png"),
    *("audit.json", "cases.parquet", "instances.parquet", "splits.parquet", "pretraining.json"),
    *("pretrain.parquet", "pretrain_instances.parquet"),
    *("predictions/*.parquet", "cells/*/cell.json", "leaks/rulings.jsonl"),
)

Study = dict[str, Any]


def travelling(study: Path) -> list[str]:
    """Paths of a study's files that an archive takes, sorted."""
    found = {p.relative_to(study).as_posix() for pattern in TRAVELS for p in study.glob(pattern)}
    checks = json.loads((study / "audit.json").read_text(encoding="utf-8"))["checks"]
    compared = (item["path"] for check in checks for item in check["evidence"])
    return sorted(found | {path for path in compared if path.startswith("masks/")})


def pack(study: Path, archive: Path) -> None:
    """Write a study's archive, the same bytes from the same files.

    Raises:
        FileNotFoundError: the study was not audited, or a mask that the audit compared is gone.
    """
    whole = BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in travelling(study):
            content = (study / path).read_bytes()
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))
    archive.write_bytes(lzma.compress(whole.getvalue(), preset=9))


def read(archive: Path) -> Study:
    """What the tables are made of: plan, analysis and audit."""
    with tarfile.open(archive) as tar:
        return {
            name: json.load(tar.extractfile(f"{name}.json") or BytesIO())
            for name in ("plan", "analysis", "audit")
        }


def _between(value: float, low: float | None, high: float | None, sign: str = "") -> str:
    ends = ("…" if end is None else f"{end:{sign}.3f}" for end in (low, high))
    return f"{value:{sign}.3f} ({' to '.join(ends)})"


def curve(study: Study) -> str:
    """Each arm's mean over draws, by fraction."""
    points = study["analysis"]["curve"]
    arms = list(dict.fromkeys(point["arm"] for point in points))
    order = [arm for arm in study["plan"]["arms"] if arm in arms]
    rows = []
    for fraction in study["plan"]["fractions"]:
        here = {point["arm"]: point for point in points if point["fraction"] == fraction}
        first = here[order[0]]
        rows.append(
            [f"{fraction:.0%}", f"{first['labels']:.0f}", f"{first['patients']:.0f}"]
            + [_between(here[a]["mean"], here[a]["lo"], here[a]["hi"]) for a in order]
        )
    return table(["", "labels", "patients", *(f"`{arm}`" for arm in order)], rows)


def effects(study: Study) -> str:
    """Differences from scratch, with what could have been detected."""
    rows = [
        [
            f"`{row['arm']}`",
            f"{row['fraction']:.0%}",
            _between(row["delta"], row["lo"], row["hi"], "+"),
            f"{row['mdd']:.3f}",
            f"{row['p_holm']:.3f}",
            "yes" if row["significant"] else "no",
        ]
        for row in study["analysis"]["effects"]
    ]
    head = ["arm", "labels", "difference", "detectable", "p, by Holm", "significant"]
    return table(head, rows)


def claim(study: Study) -> str:
    """The conditions of the claim, and its verdict."""
    judged = study["analysis"]["claim"]
    rows = [
        [
            condition["rule"],
            _short(condition["observed"]),
            _short(condition["bound"]),
            "yes" if condition["holds"] else "no",
        ]
        for condition in judged["conditions"]
    ]
    rows.append([f"**{judged['verdict']}**", "", "", ""])
    return table(["condition", "observed", "its bound", "holds"], rows)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def audit(study: Study) -> str:
    """What each check found."""
    judged = study["audit"]
    rows = [[c["id"], c["status"], c["observed"].replace("|", "/")] for c in judged["checks"]]
    return table(["check", "status", f"verdict {judged['verdict']}"], rows)


def root(study: Study) -> str:
    return f"    {study['audit']['ledger_root']}"


def tables(studies: dict[str, Study]) -> dict[str, str]:
    made = (curve, effects, claim, audit, root)
    return {f"{name} {m.__name__}": m(study) for name, study in studies.items() for m in made}


def main() -> None:
    for study in map(Path, sys.argv[1:]):
        pack(study, FOLDER / f"{study.name}.tar.xz")
    studies = {path.name.split(".")[0]: read(path) for path in sorted(FOLDER.glob("*.tar.xz"))}
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), tables(studies)), "utf-8")


if __name__ == "__main__":
    main()
