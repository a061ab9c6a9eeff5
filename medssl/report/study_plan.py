"""What was frozen before the first training, and what went otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medssl.report.page import Part, Section, details, table, text
from medssl.report.study_record import StudyRecord
from medssl.report.study_words import arm_name, number, percent

_REGIMES = {"full": "trained whole", "linear_probe": "linear probe", "knn": "kNN probe"}


def plan_section(record: StudyRecord) -> Section:
    """The plan, the settings that were tried, what the test set can show, deviations."""
    return Section(
        "Plan",
        [_plan(record), _arms(record), *_settings(record), *_power(record), *_deviations(record)],
    )


def _plan(record: StudyRecord) -> Part:
    plan = record.plan
    fit, rule, trials = plan["fit"], plan["test"], plan["search"]["trials"]
    test = (
        "as the data set's owners say"
        if rule["rule"] == "split"
        else f"{percent(rule['fraction'])} of patients, seed {rule['seed']}"
    )
    tuning = (
        "none: one setting for all arms"
        if trials == 1
        else f"{trials} settings for each cell that trains, chosen on its own validation part"
    )
    rows = [
        ("task", f"{plan['task']['kind']} of {plan['task']['label']}"),
        ("fractions", ", ".join(percent(f) for f in plan["fractions"])),
        ("draws", str(plan["draws"])),
        ("test set", test),
        ("network", (fit.get("model") or {}).get("name", "not told")),
        ("training of a cell", _training(fit)),
        ("tuning", tuning),
        ("metric", f"{plan['metric']}, margin {plan['margin']:g}"),
        ("target of the savings factor", f"scratch at {percent(plan['reference_fraction'])}"),
        ("SHA-256 of the plan", record.analysis["plan_sha256"]),
    ]
    return table(["frozen before the first training", ""], rows)


def _training(fit: Mapping[str, Any]) -> str:
    """Steps and batch; a study that medssl did not plan may not tell the batch."""
    batch = f" of {fit['batch_size']} patches" if "batch_size" in fit else ""
    return f"{fit['steps']} steps{batch}" if "steps" in fit else "see plan.json"


def _arms(record: StudyRecord) -> Part:
    rows = [
        (
            arm_name(name),
            name,
            _start_of(arm),
            _REGIMES[arm["regime"]],
            arm["steps"] or "none",
            arm["labels"],
            arm["trials"],
        )
        for name, arm in record.plan["arms"].items()
    ]
    head = ["arm", "name in files", "starts from", "regime", "steps", "labels", "trials"]
    return table(head, rows)


def _start_of(arm: Mapping[str, Any]) -> str:
    encoder = arm["encoder"]
    if encoder is None:
        return "random weights"
    return f"{encoder['method'] or 'an encoder'}, {encoder['volumes']:,} volume(s)"


def _settings(record: StudyRecord) -> list[Part]:
    settings = record.plan["search"].get("settings") or []
    keys = list(dict.fromkeys(key for setting in settings for key in setting))
    if not keys or len(settings) == 1:
        return []
    rows = [
        (place, *(str(setting.get(key, "–")) for key in keys))
        for place, setting in enumerate(settings)
    ]
    return [details(f"The {len(settings)} settings", [table(["trial", *keys], rows)])]


def _power(record: StudyRecord) -> list[Part]:
    """What the plan said could be seen, before anything was trained."""
    power = record.plan.get("power")
    if not power:
        return []
    shown = "is" if power["margin_shown"] else "is not"
    return [
        text(
            f"Foreseen when it was planned: with {power['test_patients']} test patients and "
            f"{power['draws']} draws a difference of {number(power['mdd'])} would be found four "
            f"times in five, and the margin of {power['margin']:g} {shown} within reach."
        )
    ]


def _deviations(record: StudyRecord) -> list[Part]:
    failed, missing = record.failed, record.analysis["missing"]
    if not failed and not missing:
        return [text("Deviations from the plan: none.")]
    rows = [
        (cell, failed.get(cell, "not run"), "missing" if cell in missing else "run again")
        for cell in sorted({*failed, *missing})
    ]
    return [text("Deviations from the plan:"), table(["cell", "why", "now"], rows)]
