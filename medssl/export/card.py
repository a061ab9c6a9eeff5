"""A model card made from a fine-tuning run's own records (Mitchell et al., Model cards for model
reporting, 2019): what it is for, what it learned from, its results, its limits."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medssl.errors import CheckpointError, ConfigError
from medssl.export.finetuned import Finetuned, load_finetuned
from medssl.export.place import check_place
from medssl.models.weights import read_metadata
from medssl.report.page import Part, Section, points, table, text, verdict, write_page
from medssl.report.quality_facts import count_of
from medssl.store.writer import write_atomically
from medssl.transfer.ensemble import FILE_NAME as ENSEMBLE
from medssl.transfer.ensemble import read_ensemble
from medssl.transfer.operating_point import kept_threshold, threshold_told
from medssl.transfer.regime_config import start_told

_FORBIDDEN = (
    "Not a medical device: no regulator has cleared it, and no study has tried it on patients.",
    "Not for diagnosis, triage or treatment, and not to replace a reader.",
    "Not for scans in other units, of other modalities or other parts of the body than those that "
    "it learned from: it answers there too, and medssl predict tells of other units alone.",
    "Not for findings other than its classes: each scan gets one of these.",
)
_CALIBRATION = ("brier", "ece")
_TOLD_OF_FOLDS = (
    "Each patient was tested once, by the network that had not seen him. The average of all "
    "networks, which answers on new scans, was not tested: each patient was seen by all but one."
)


@dataclass(frozen=True)
class _Records:
    """What a run left.

    Attributes:
        finetuned: its network; of a cross-validation, that of the first fold.
        summary: its summary.json.
        trainings: summary.json of each training: the run itself, or the folds.
        weights: sha256 of each training's weights.
        thresholds: of each training; see `medssl.transfer.operating_point`.
        cases: volume_uid and split (of a cross-validation, the fold in which it tested).
    """

    finetuned: Finetuned
    summary: dict[str, Any]
    trainings: list[dict[str, Any]]
    weights: list[str]
    thresholds: list[float | None]
    cases: pd.DataFrame
    subgroups: pd.DataFrame | None

    @property
    def in_folds(self) -> bool:
        """Whether it is a cross-validation."""
        return "folds" in self.summary

    @property
    def tested(self) -> dict[str, int]:
        """How many cases and patients were tested; a patient tests in one fold alone."""
        parts = [training["parts"]["test"] for training in self.trainings]
        return {name: sum(part[name] for part in parts) for name in ("cases", "patients")}


def write_card(run: Path, out: Path) -> Path:
    """Write the card as one HTML page or as Markdown, by the suffix of `out`.

    It holds no path, no name and no identity; cases are told by counts and hashes. Of a
    cross-validation it describes the networks of all folds, which answer together.

    Raises:
        ConfigError, CheckpointError: as `load_finetuned`; or `out` is neither .html nor .md,
            or nothing can be written there.
    """
    if out.suffix not in (".html", ".md"):
        raise ConfigError(f"{out}: a card is written as .html or .md")
    check_place(out)
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
        Section("What it does", _purpose(records)),
        Section("Results on unseen patients", _results(records)),
        *([Section("By subgroup", _subgroups(records.subgroups))] if _has(records) else []),
        *([Section("Calibration", _calibration(records))] if _classifies(records) else []),
        Section("Limits", [points((line, "") for line in _limits(records))]),
        Section("What it must not be used for", [points((line, "") for line in _FORBIDDEN)]),
        Section("Data", _data(records)),
        Section("Training", _training(records)),
        Section("Where the weights come from", _origin(records)),
    ]


def _read(run: Path) -> _Records:
    groups = run / "subgroups.parquet"
    subgroups = pd.read_parquet(groups) if groups.is_file() else None
    if not (run / ENSEMBLE).is_file():
        finetuned = load_finetuned(run)
        summary = json.loads((run / "summary.json").read_text("utf-8"))
        cases = pd.read_parquet(run / "cases.parquet")
        about = [finetuned.about]
        return _Records(finetuned, summary, [summary], *_kept(about), cases, subgroups)
    members = read_ensemble(run)
    if not (run / "summary.json").is_file():
        raise CheckpointError(f"the run in {run} is not finished; run its command again to resume")
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    folds = pd.read_parquet(run / "folds.parquet")
    cases = folds[folds["split"] == "test"]
    return _Records(
        load_finetuned(run / "folds" / "0"),
        summary,
        summary["folds"],
        *_kept([read_metadata(member) for member in members]),
        cases.assign(split=cases["fold"].map("fold {}".format)),
        subgroups,
    )


def _kept(about: list[dict[str, str]]) -> tuple[list[str], list[float | None]]:
    """The hashes and the thresholds in the metadata of weights."""
    return [one["weights_sha256"] for one in about], [kept_threshold(one) for one in about]


def _title(finetuned: Finetuned) -> str:
    what = finetuned.config["task"]
    return f"{finetuned.task.capitalize()} of {what.get('label') or what.get('mask')}"


def _purpose(records: _Records) -> list[Part]:
    finetuned = records.finetuned
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
    if records.in_folds:
        answer += f" The probabilities of {len(records.trainings)} networks are averaged."
    rows = [
        ("answer", answer),
        ("classes", ", ".join(finetuned.outputs)),
        *_read_at(records),
        ("network", finetuned.model.name),
        ("patch", " × ".join(map(str, finetuned.patch)) + " voxels"),
        ("spacing", spacing),
        ("axes", facts["axes"]),
        *((f"scans in {unit}", how) for unit, how in facts["normalisation"].items()),
    ]
    return [table(["", ""], rows)]


def _read_at(records: _Records) -> list[tuple[str, str]]:
    """Of two classes the threshold, in a row for it; the network itself gives logits."""
    if records.finetuned.task != "classification" or len(records.finetuned.classes) != 2:
        return []
    told = threshold_told(records.thresholds)
    return [(f"medssl predict answers {records.finetuned.classes[1]} from", told)]


def _results(records: _Records) -> list[Part]:
    metrics: dict[str, float | None] = records.summary["metrics"]
    names = [name.removeprefix("test/") for name in metrics if not name.endswith(("_lo", "_hi"))]
    return [
        _intervals(metrics, [name for name in names if name not in _CALIBRATION]),
        text(
            f"From and to are the 95 % interval over resamples of patients of {_whose(records)}; "
            "it tells of chance among such patients, not of other hospitals."
        ),
        *([_by_fold(records), text(_TOLD_OF_FOLDS)] if records.in_folds else []),
    ]


def _whose(records: _Records) -> str:
    return "all folds" if records.in_folds else "the test part"


def _by_fold(records: _Records) -> Part:
    """Every metric, fold by fold."""
    names = [name.removeprefix("test/") for name in records.trainings[0]["metrics"]]
    rows = [
        [number, *(_number(fold["metrics"].get(f"test/{name}")) for name in names)]
        for number, fold in enumerate(records.trainings)
    ]
    return table(["fold", *names], rows)


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
            f"{row.column} {row.value} ({count_of(int(str(row.patients)), 'patient')})"
            for row in left_out.itertuples()
        )
        parts.append(text(f"Too few patients for a number: {', '.join(listed)}."))
    return parts if not none.all() else parts[1:]


def _calibration(records: _Records) -> list[Part]:
    metrics = records.summary["metrics"]
    fitted = [training.get("calibration") for training in records.trainings]
    divisors = ", ".join(f"{scaled['temperature']:.3f}" for scaled in fitted if scaled)
    told = f"Logits are divided by {divisors}, fitted on the validation part. " if divisors else ""
    return [
        _intervals(metrics, [name for name in _CALIBRATION if f"test/{name}" in metrics]),
        text(
            f"{told}brier: mean squared distance of the probabilities from the truth. ece: mean "
            "distance between confidence and accuracy, far above 0 with few cases even where the "
            "probabilities are right. Both are 0 at best, and hold for the share of each class in "
            f"{_whose(records)}; elsewhere probabilities are to be calibrated anew."
        ),
    ]


def _limits(records: _Records) -> Iterable[str]:
    summary, finetuned = records.summary, records.finetuned
    tested = records.tested
    yield (
        f"Tested on {count_of(tested['cases'], 'scan')} of "
        f"{count_of(tested['patients'], 'patient')} of the archive that it learned from; on no "
        "other."
    )
    if tested["patients"] < 100:
        yield "Tested on fewer than 100 patients: read the intervals, not the values."
    if not any(training["parts"]["val"]["cases"] for training in records.trainings):
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
    counted = ("cases", "patients")
    parts = [
        [f"fold {number}: {part}" if records.in_folds else part, *map(counts.get, counted)]
        for number, training in enumerate(records.trainings)
        for part, counts in training["parts"].items()
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
    settings = [_setting(training) for training in records.trainings]
    trained = [_with(config, setting) for setting in settings]
    rows = [
        *([("tuned", _tuned(records, settings))] if any(settings) else []),
        *(
            (name, ", ".join(str(training[key]) for training in records.trainings))
            for name, key in (("steps", "steps"), ("weights of step", "selected_step"))
        ),
        ("patches in a batch", _each(str(one["batch_size"]) for one in trained)),
        ("optimiser", _each(_shown(one["optim"]) for one in trained)),
        ("random seed", str(config["seed"])),
        ("time", f"{summary['seconds']:.0f} s"),
    ]
    return [table(["", ""], rows)]


def _setting(training: dict[str, Any]) -> dict[str, Any]:
    """What a training's search chose; nothing where nothing was tuned."""
    if "trials" not in training:
        return {}
    setting: dict[str, Any] = training["trials"][training["chosen"]]["setting"]
    return setting


def _with(config: dict[str, Any], setting: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the values of a setting, whose keys are dotted."""
    changed = copy.deepcopy(config)
    for key, value in setting.items():
        *parents, last = key.split(".")
        node = changed
        for name in parents:
            node = node[name]
        node[last] = value
    return changed


def _tuned(records: _Records, settings: list[dict[str, Any]]) -> str:
    number = len(records.trainings[0]["trials"])
    where = "each fold's validation part" if records.in_folds else "the validation part"
    return f"{number} settings were tried; {where} chose {_each(map(_shown, settings))}"


def _each(told: Iterable[str]) -> str:
    """What is told of each training, once where they are alike."""
    found = list(told)
    return found[0] if len(set(found)) == 1 else "; ".join(found)


def _origin(records: _Records) -> list[Part]:
    report: list[str] = records.trainings[0]["load_report"]
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
    hashes = [
        (f"the weights of fold {number}" if records.in_folds else "the weights", sha256)
        for number, sha256 in enumerate(records.weights)
    ]
    return [*map(text, [*lines, *shares]), table(["sha256 of", ""], hashes)]


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
