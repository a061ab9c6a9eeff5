"""Writing what the analysis found: analysis.json, the curve, the page, MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.efficiency.analysis import Analysis, analyse
from medssl.efficiency.canonical import canonical_json, sha256_file
from medssl.efficiency.cells import StudyPaths
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.ledger import Ledger
from medssl.efficiency.plan import STAGE, check_config_is_planned
from medssl.efficiency.study import start_parent
from medssl.engine.run_folder import RunFolder
from medssl.report.learning_curve import learning_curve
from medssl.report.page import figure_png
from medssl.report.study import write_study_report
from medssl.report.study_record import read_record
from medssl.report.study_verdict import headline
from medssl.store.writer import write_atomically
from medssl.tracking import Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
            png = figure_png(_draw_curve(values))
            write_bytes(paths.curve, png)
            for path in (paths.analysis, paths.curve):
                ledger.append("file_written", paths.relative(path), sha256_file(path))
            entries, root = ledger.entries, ledger.root()
        record = read_record(paths, analysis.plan, values, entries, root, config.store)
        # The page is not in the ledger, for it names the ledger's root.
        write_study_report(paths.report, record, png)
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


def _draw_curve(values: dict[str, Any]) -> Figure:
    return learning_curve(values["curve"], values["metric"], values["lsf"], values["arm"])


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
        for row in values["calibration"]:
            name = f"curve/{row['arm']}/{row['measure']}"
            _log(
                tracker, _labels_at(values, row["fraction"]), _with_bounds(name, row["value"], row)
            )
        _log(tracker, 0, summary_metrics(values))
        tracker.tag("ledger_root", root)
        if analysis.claim is not None:
            tracker.tag("claim_verdict", str(analysis.claim.verdict))
        for path in (paths.plan, paths.analysis, paths.curve, paths.report, paths.ledger):
            tracker.artifact(path)
        status = "FINISHED"
    finally:
        tracker.close(status)


def _labels_at(values: dict[str, Any], fraction: float) -> int:
    """The step of a fraction's metrics: its number of labels."""
    labels: float = next(p["labels"] for p in values["curve"] if p["fraction"] == fraction)
    return round(labels)


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
