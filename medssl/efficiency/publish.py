"""Writing what the analysis found: analysis.json, the curve, the page, MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medssl.efficiency.analysis import Analysis, analyse
from medssl.efficiency.canonical import canonical_json, sha256_file
from medssl.efficiency.cells import StudyPaths
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.ledger import Entry, Ledger
from medssl.efficiency.plan import STAGE, check_config_is_planned
from medssl.efficiency.study import start_parent
from medssl.engine.run_folder import RunFolder
from medssl.report.learning_curve import learning_curve
from medssl.report.page import figure_png
from medssl.report.study import headline, write_study_report
from medssl.store.writer import write_atomically
from medssl.tracking import Tracker


@dataclass(frozen=True)
class AnalysisResult:
    """Where the result is, the verdict in a line, and the root that vouches for it."""

    study: Path
    headline: str
    verdict: str | None
    missing: list[str]
    curve: Path
    report: Path
    ledger_root: str


def analyse_study(config: StudyConfig, out: Path) -> AnalysisResult:
    """Analyse a study as far as it has run, and write the result beside it.

    Everything but the record in MLflow is computed from the study's own files; with nothing new in
    them the same bytes are written again.

    Raises:
        ConfigError: `out` holds a study of another configuration, or none.
        StudyError: files are missing, changed or damaged.
    """
    paths = StudyPaths(out)
    check_config_is_planned(config, paths)
    folder = RunFolder.open(out, config, STAGE)
    try:
        with Ledger(paths.ledger) as ledger:
            analysis = analyse(paths)
            values = analysis.as_json
            write_atomically(paths.analysis, canonical_json(values).decode())
            png = figure_png(learning_curve(values["curve"], values["metric"], values["lsf"]))
            write_bytes(paths.curve, png)
            for path in (paths.analysis, paths.curve):
                ledger.append("file_written", paths.relative(path), sha256_file(path))
            entries, root = ledger.entries, ledger.root()
        _write_page(paths, analysis, values, png, entries, root)
        _record(paths, folder, analysis, values, root)
    finally:
        folder.close()
    return AnalysisResult(
        out,
        headline(values),
        None if analysis.claim is None else str(analysis.claim.verdict),
        analysis.missing,
        paths.curve,
        paths.report,
        root,
    )


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, replacing it whole."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_page(
    paths: StudyPaths,
    analysis: Analysis,
    values: dict[str, Any],
    png: bytes,
    entries: list[Entry],
    root: str,
) -> None:
    """The page is not in the ledger itself, for it names the ledger's root."""
    last = {e.path: e.sha256 for e in entries if e.path is not None and e.sha256 is not None}
    failed = {
        str(e.facts.get("cell")): str(e.facts.get("error"))
        for e in entries
        if e.event == "cell_failed"
    }
    evidence = sorted((str(path), str(digest)) for path, digest in last.items())
    cases = pd.read_parquet(paths.cases)
    write_study_report(paths.report, analysis.plan, values, cases, png, failed, evidence, root)


def _record(
    paths: StudyPaths, folder: RunFolder, analysis: Analysis, values: dict[str, Any], root: str
) -> None:
    """Log the curve to the study's MLflow run, once all cells are there.

    A metric that MLflow holds cannot be taken back, so that half a study is not logged.
    """
    if analysis.missing:
        return
    tracker = start_parent(folder, analysis.plan, analysis.plan_sha256)
    status = "FAILED"
    try:
        for point in values["curve"]:
            name = f"curve/{point['arm']}/{values['metric']}"
            _log(tracker, round(point["labels"]), _with_bounds(name, point["mean"], point))
        _log(tracker, 0, summary_metrics(values))
        tracker.tag("ledger_root", root)
        if analysis.claim is not None:
            tracker.tag("claim_verdict", str(analysis.claim.verdict))
        for path in (paths.plan, paths.analysis, paths.curve, paths.report, paths.ledger):
            tracker.artifact(path)
        status = "FINISHED"
    finally:
        tracker.close(status)


def summary_metrics(values: dict[str, Any]) -> dict[str, float | None]:
    """The metrics le/* of the parent run; differences are those of the studied arm."""
    metrics: dict[str, float | None] = {}
    for effect in (e for e in values["effects"] if e["arm"] == values["arm"]):
        share = f"{effect['fraction']:g}"
        metrics |= _with_bounds(f"le/delta/{share}", effect["delta"], effect)
        metrics[f"le/mdd/{share}"] = effect["mdd"]
        metrics[f"le/p_holm/{share}"] = effect["p_holm"]
    for arm, area in values["aulc"].items():
        if area is not None:
            metrics |= _with_bounds(f"le/aulc/{arm}", area["value"], area)
    if values["lsf"] is not None:
        metrics |= _with_bounds("le/lsf", values["lsf"]["value"], values["lsf"])
    return metrics


def _with_bounds(name: str, value: float | None, bounds: dict[str, Any]) -> dict[str, float | None]:
    return {name: value, f"{name}_lo": bounds["lo"], f"{name}_hi": bounds["hi"]}


def _log(tracker: Tracker, step: int, metrics: dict[str, float | None]) -> None:
    tracker.log(step, {name: value for name, value in metrics.items() if value is not None})
