"""A model card made from a fine-tuning run's own records (Mitchell et al., Model cards for model
reporting, 2019): what it is for, what it learned from, its results, its limits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medssl.errors import ConfigError
from medssl.export.finetuned import Finetuned, load_finetuned
from medssl.report.page import Part, Section, points, table, text, verdict, write_page
from medssl.store.writer import write_atomically
from medssl.transfer.regime_config import start_told

_FORBIDDEN = (
    "Not a medical device: no regulator has cleared it, and no study has tried it on patients.",
    "Not for diagnosis, triage or treatment, and not to replace a reader.",
    "Not for scans in other units, of other modalities or other parts of the body than those that "
    "it learned from: it answers there too, and says nothing of it.",
    "Not for findings other than its classes: each scan gets one of these.",
)
_CALIBRATION = ("brier", "ece")


@dataclass(frozen=True)
class _Records:
    finetuned: Finetuned
    summary: dict[str, Any]
    cases: pd.DataFrame
    subgroups: pd.DataFrame | None


def write_card(run: Path, out: Path) -> Path:
    """Write the card as one HTML page or as Markdown, by the suffix of `out`.

    It holds no path, no name and no identity; cases are told by counts and hashes.

    Raises:
        ConfigError, CheckpointError: as `load_finetuned`; or `out` is neither .html nor .md.
    """
    if out.suffix not in (".html", ".md"):
        raise ConfigError(f"{out}: a card is written as .html or .md")
    records = _read(run)
    title = _title(records.finetuned)
    lead = "Model card, made from the records of the run that trained it."
    sections = card_sections(records)
    if out.suffix == ".html":
        return write_page(out, title, lead, sections)
    write_atomically(out, _markdown(title, lead, sections))
    return out


def card_sections(records: _Records) -> list[Section]:
    """The card's sections, of paragraphs, tables and lists alone."""
    return [
        Section("", [verdict("For research only. Not a medical device.")]),
        Section("What it does", _purpose(records.finetuned)),
        Section("Results on unseen patients", _results(records.summary)),
        *([Section("By subgroup", _subgroups(records.subgroups))] if _has(records) else []),
        *([Section("Calibration", _calibration(records))] if _classifies(records) else []),
        Section("Limits", [points((line, "") for line in _limits(records))]),
        Section("What it must not be used for", [points((line, "") for line in _FORBIDDEN)]),
        Section("Data", _data(records)),
        Section("Training", _training(records)),
        Section("Where the weights come from", _origin(records)),
    ]


def _read(run: Path) -> _Records:
    finetuned = load_finetuned(run)
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    groups = run / "subgroups.parquet"
    return _Records(
        finetuned,
        summary,
        pd.read_parquet(run / "cases.parquet"),
        pd.read_parquet(groups) if groups.is_file() else None,
    )


def _title(finetuned: Finetuned) -> str:
    what = finetuned.config["task"]
    return f"{finetuned.task.capitalize()} of {what.get('label') or what.get('mask')}"


def _purpose(finetuned: Finetuned) -> list[Part]:
    facts = finetuned.facts()
    spacing = (
        "each scan's own"
        if finetuned.spacing_mm is None
        else " × ".join(f"{side:g}" for side in finetuned.spacing_mm) + " mm"
    )
    answer = (
        "One class for a crop around the middle of the scan's foreground."
        if finetuned.task == "classification"
        else "One class for each voxel of a scan, by windows over all of it."
    )
    rows = [
        ("answer", answer),
        ("classes", ", ".join(finetuned.outputs)),
        ("network", finetuned.model.name),
        ("patch", " × ".join(map(str, finetuned.patch)) + " voxels"),
        ("spacing", spacing),
        ("axes", facts["axes"]),
        *((f"scans in {unit}", how) for unit, how in facts["normalisation"].items()),
    ]
    return [table(["", ""], rows)]


def _results(summary: dict[str, Any]) -> list[Part]:
    metrics: dict[str, float | None] = summary["metrics"]
    names = [name.removeprefix("test/") for name in metrics if not name.endswith(("_lo", "_hi"))]
    return [
        _intervals(metrics, [name for name in names if name not in _CALIBRATION]),
        text(
            "From and to are the 95 % interval over resamples of patients of the test part; it "
            "tells of chance among such patients, not of other hospitals."
        ),
    ]


def _intervals(metrics: dict[str, float | None], names: Iterable[str]) -> Part:
    rows = [
        [name, *(_number(metrics.get(f"test/{name}{end}")) for end in ("", "_lo", "_hi"))]
        for name in names
    ]
    return table(["metric", "value", "from", "to"], rows)


def _subgroups(groups: pd.DataFrame | None) -> list[Part]:
    assert groups is not None
    small = groups["estimate"].isna()
    none = small.groupby([groups["column"], groups["value"]]).transform("all")
    names = ["column", "value", "cases", "patients", "metric", "estimate", "low", "high"]
    rows = groups.loc[~none, names].itertuples(index=False, name=None)
    parts = [table(["by", "value", "cases", "patients", "metric", "value", "from", "to"], rows)]
    left_out = groups[none].drop_duplicates(["column", "value"])
    if len(left_out):
        listed = (
            f"{row.column} {row.value} ({row.patients} patients)" for row in left_out.itertuples()
        )
        parts.append(text(f"Too few patients for a number: {', '.join(listed)}."))
    return parts if not none.all() else parts[1:]


def _calibration(records: _Records) -> list[Part]:
    metrics = records.summary["metrics"]
    scaled = records.summary.get("calibration")
    told = (
        ""
        if scaled is None
        else (f"Logits are divided by {scaled['temperature']:.3f}, fitted on the validation part. ")
    )
    return [
        _intervals(metrics, [name for name in _CALIBRATION if f"test/{name}" in metrics]),
        text(
            f"{told}brier: mean squared distance of the probabilities from the truth. ece: mean "
            "distance between confidence and accuracy. Both are 0 at best, and hold for the share "
            "of each class in the test part; elsewhere probabilities are to be calibrated anew."
        ),
    ]


def _limits(records: _Records) -> Iterable[str]:
    summary, finetuned = records.summary, records.finetuned
    tested = summary["parts"]["test"]
    yield (
        f"Tested on {tested['cases']} scans of {tested['patients']} patients of the archive that "
        "it learned from; on no other."
    )
    if tested["patients"] < 100:
        yield "Tested on fewer than 100 patients: read the intervals, not the values."
    if not summary["parts"]["val"]["cases"]:
        yield "There was no validation part: the weights are those of the last step."
    low = summary["metrics"].get("test/auc_macro_minus_size_only_lo")
    if low is not None and low <= 0:
        yield "No gain over the size of the foreground alone was shown: see its interval above."
    if not _has(records):
        yield "Results were not taken apart by scanner, site, sex or age."
    if finetuned.task == "classification":
        yield "It sees one crop of each scan; what lies outside of it is not judged."
    yield from (note for note in summary["notes"] if "LEAK" in note or "not known" in note)


def _data(records: _Records) -> list[Part]:
    parts = [
        [name, counts["cases"], counts["patients"]]
        for name, counts in records.summary["parts"].items()
    ]
    listed = sorted(f"{row.volume_uid} {row.split}" for row in records.cases.itertuples())
    split = hashlib.sha256("\n".join(listed).encode()).hexdigest()
    hashes = [("which scan is in which part", split)]
    for name, digest in records.summary.get("data_sha256", {}).items():
        hashes.append((f"voxels of the part {name}", digest))
    return [
        table(["part", "scans", "patients"], parts),
        text(f"Split: {_shown(records.finetuned.config.get('split'))}."),
        *(text(f"{note[:1].upper()}{note[1:]}.") for note in records.summary["notes"]),
        table(["sha256 of", ""], hashes),
        text(
            "Voxels: of the sorted list of each scan's key and of the hash of its values. Keys are "
            f"made under key {records.finetuned.about['store_key_id']}."
        ),
    ]


def _training(records: _Records) -> list[Part]:
    config, summary = records.finetuned.config, records.summary
    rows = [
        ("steps", str(summary["steps"])),
        ("weights of step", str(summary["selected_step"])),
        ("patches in a batch", str(config["batch_size"])),
        ("optimiser", _shown(config["optim"])),
        ("random seed", str(config["seed"])),
        ("time", f"{summary['seconds']:.0f} s"),
    ]
    return [table(["", ""], rows)]


def _origin(records: _Records) -> list[Part]:
    report: list[str] = records.summary["load_report"]
    if not report:
        regime = records.finetuned.config["regime"]["name"]
        start = start_told(regime, pretrained=False)
        lines = [f"Trained from {start}; no other weights went into it."]
    elif report[0].startswith("weights of "):
        lines = [
            f"It starts from {report[0]}: cite that project, and keep to its licence, wherever "
            "this model is used or passed on."
        ]
    else:
        lines = ["It starts from an encoder that medssl pretrained: cite that run and its data."]
    shares = [f"{line}." for line in report if line.endswith("weights matched")]
    sha256 = records.finetuned.about["weights_sha256"]
    return [*map(text, [*lines, *shares]), table(["sha256 of", ""], [("the weights", sha256)])]


def _has(records: _Records) -> bool:
    return records.subgroups is not None and len(records.subgroups) > 0


def _classifies(records: _Records) -> bool:
    return "test/ece" in records.summary["metrics"]


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _shown(values: Any) -> str:
    """Settings on one line; those that are null are left out."""
    if not isinstance(values, dict):
        return str(values)
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _markdown(title: str, lead: str, sections: Iterable[Section]) -> str:
    lines = [f"# {title}", "", lead, ""]
    for section in sections:
        if section.heading:
            lines += [f"## {section.heading}", ""]
        for part in section.parts:
            lines += [*_markdown_part(part), ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_part(part: Part) -> list[str]:
    match part["kind"]:
        case "table":
            heads = [name for name, _ in part["columns"]]
            rows = [[cell["text"] for cell in row] for row in part["rows"]]
            cells = [heads, ["---"] * len(heads), *rows]
            return ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in cells]
        case "points":
            return [f"- {line}" for line, _ in part["points"]]
        case "verdict":
            return [f"**{part['text']}**"]
        case kind:
            assert kind == "text", kind
            return [part["text"]]
