"""The page of a label-efficiency study: verdict first, evidence last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from medssl.report.learning_curve import NAMES, percent, savings_text
from medssl.report.page import Part, Section, figure, table, text, verdict, write_page

_VERDICTS = {
    "SUPPORTED": "every condition of the claim's rule holds",
    "UNSUPPORTED": "what was measured does not bear the claim out",
    "VACUOUS": "the curve from scratch is too flat for any saving of labels to show",
    "INCONCLUSIVE": "too few draws to decide",
}

_TONES: dict[str, Literal["good", "bad", "open"]] = {
    "SUPPORTED": "good",
    "UNSUPPORTED": "bad",
    "VACUOUS": "bad",
}


def write_study_report(
    path: Path,
    plan: Mapping[str, Any],
    analysis: Mapping[str, Any],
    cases: pd.DataFrame,
    curve_png: bytes,
    failed: Mapping[str, str],
    evidence: Iterable[tuple[str, str]],
    ledger_root: str,
) -> Path:
    """Write report.html from what the study's files hold.

    Args:
        plan, analysis: the contents of plan.json and analysis.json.
        cases: the table cases.parquet.
        failed: cells that failed at some time, with the kind of error.
        evidence: (path, SHA-256) of every file that the result rests on.
        ledger_root: the root of the ledger, which vouches for all of these.
    """
    data, task = plan["data"], plan["task"]
    lead = (
        f"{task['kind'].capitalize()} of {task['label']}: {len(plan['arms'])} arms, "
        f"{len(plan['fractions'])} fractions, {plan['draws']} draws, "
        f"{data['test_patients']} sealed test patients."
    )
    sections = [
        Section("", [_headline(analysis)]),
        Section("Learning curve", [_curve(analysis, curve_png)]),
        Section("Effects", _effects(plan, analysis)),
        Section("Labels saved", _savings(analysis)),
        Section("Plan", [_plan(plan, analysis), *_deviations(analysis, failed)]),
        Section("Patient flow", _flow(plan)),
        Section("Limits", [text(line) for line in limits(plan, analysis, cases)]),
        Section("Evidence", _evidence(evidence, ledger_root)),
    ]
    if analysis["claim"] is not None:
        sections.insert(1, Section("Claim", [_conditions(analysis["claim"])]))
    return write_page(path, "Label efficiency", lead, sections)


def headline(analysis: Mapping[str, Any]) -> str:
    """The verdict in one line; where no claim was made, the difference with the fewest labels."""
    claim = analysis["claim"]
    if claim is not None:
        said = (
            f"{_name(claim['arm'])} with {percent(claim['frac'])} of the labels does as well as "
            f"{_name(claim['versus'])} with {percent(claim['vs_frac'])}"
        )
        return f"{claim['verdict']} – “{said}”: {_VERDICTS[claim['verdict']]}."
    if not analysis["effects"] or analysis["effects"][0]["delta"] is None:
        return "No claim was made, and no two arms can be compared."
    first = analysis["effects"][0]
    return (
        f"No claim was made. With {first['labels']:.0f} labels, {_name(first['arm'])} minus "
        f"{_name(first['versus'])} is {_signed(first['delta'])} "
        f"({_signed(first['lo'])} to {_signed(first['hi'])})."
    )


def limits(plan: Mapping[str, Any], analysis: Mapping[str, Any], cases: pd.DataFrame) -> list[str]:
    """What a reader has to keep in mind, as far as the files tell it."""
    lines = []
    if plan["draws"] < 5:
        lines.append(
            f"{plan['draws']} draws: the spread between draws is hardly known, and no verdict "
            "beyond INCONCLUSIVE is possible. Ten draws are the rule."
        )
    elif plan["draws"] < 10:
        lines.append(f"{plan['draws']} draws: nothing is called significant under ten.")
    if 1.0 in plan["fractions"]:
        lines.append(
            "The draws at 100 % differ by seed alone, not by patients: their spread says nothing "
            "of who was labelled."
        )
    if plan["search"]["trials"] == 1:
        lines.append(
            "Nothing was tuned: both arms ran with the settings of the plan. Settings that suit "
            "one arm better would shift the curve."
        )
    if analysis["missing"]:
        lines.append(f"Cells without predictions: {', '.join(analysis['missing'])}.")
    inferred = cases[cases["group_quality"] != "patient"]
    if len(inferred):
        kinds = inferred["group_quality"].value_counts()
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        lines.append(
            "Which volumes belong to one patient is not known from the source for all cases "
            f"({told}): the split by patient is as good as that."
        )
    for name, arm in plan["arms"].items():
        if arm["encoder"] is not None and not arm["encoder"]["volumes"]:
            lines.append(
                f"Nothing says which volumes the encoder of {name} saw: whether it saw test "
                "patients cannot be checked."
            )
    lines.append(
        "Intervals resample the patients of one test set and the draws; another hospital's "
        "patients are not in them."
    )
    return lines


def _headline(analysis: Mapping[str, Any]) -> Part:
    claim = analysis["claim"]
    tone = _TONES.get(claim["verdict"], "open") if claim else "open"
    return verdict(headline(analysis), tone)


def _conditions(claim: Mapping[str, Any]) -> Part:
    rows = [
        (
            c["rule"],
            _observed(c, "observed"),
            _observed(c, "bound"),
            "holds" if c["holds"] else "does not hold",
        )
        for c in claim["conditions"]
    ]
    return table(["condition", "observed", "bound", ""], rows)


def _observed(condition: Mapping[str, Any], which: str) -> str:
    value = condition[which]
    return f"{value:.0f}" if condition["id"] == "enough_draws" else _number(value)


def _curve(analysis: Mapping[str, Any], png: bytes) -> Part:
    intervals = analysis["intervals"]
    return figure(
        png,
        f"Mean over {intervals['draws']} draws; bands are {percent(intervals['level'])} intervals "
        f"over patients and draws ({intervals['replicates']} replicates, "
        f"{intervals['test_patients']} test patients); open marks are single draws. "
        "Labels include those of validation.",
    )


def _effects(plan: Mapping[str, Any], analysis: Mapping[str, Any]) -> list[Part]:
    if not analysis["effects"]:
        return [text("There is one arm only: nothing is compared.")]
    columns = ["share", "labels", "difference", "95 % interval", "detectable", "p", "p (Holm)", ""]
    rows = [
        (
            percent(e["fraction"]),
            round(e["labels"]),
            _signed(e["delta"]),
            _interval(e, _signed),
            _number(e["mdd"]),
            e["p"],
            e["p_holm"],
            {True: "significant", False: "not significant", None: "too few draws to say"}[
                e["significant"]
            ],
        )
        for e in analysis["effects"]
    ]
    first = analysis["effects"][0]
    return [
        text(
            f"Difference in {analysis['metric']}, {_name(first['arm'])} minus "
            f"{_name(first['versus'])}. Detectable: the difference that this study would find four "
            "times in five (2.80 standard errors); p by the exact sign-flip test over draws, whose "
            f"floor here is {min(1.0, 2 / 2 ** plan['draws']):.2g}."
        ),
        table(columns, rows),
        table(
            ["area under the curve (over log2 labels)", "value", "95 % interval"],
            [
                (_name(arm), _number(area["value"]), _interval(area, _number))
                for arm, area in analysis["aulc"].items()
                if area is not None
            ],
        ),
    ]


def _savings(analysis: Mapping[str, Any]) -> list[Part]:
    savings = analysis["lsf"]
    if savings is None:
        return [text("A savings factor needs two arms and two fractions, without a gap.")]
    words = savings_text(savings)
    if not words:
        return [
            text(
                "The factor is undefined: both arms reach the target with the fewest labels "
                "that were tried, so the curve cannot tell them apart."
            )
        ]
    lo = "no lower bound" if savings["lo"] is None else f"from {savings['lo']:.2g}"
    hi = "no upper bound" if savings["hi"] is None else f"to {savings['hi']:.2g}"
    censored = (
        ""
        if savings["censored"] == "none"
        else " The crossing lies outside the measured range, so the factor is a bound only."
    )
    return [
        text(
            f"{words[0].upper()}{words[1:]} to reach {savings['target']:.3f}, what training from "
            f"scratch reaches with {percent(savings['reference_fraction'])} of the labels (95 % "
            f"interval: {lo}, {hi}). Curves made monotone, linear in log2 of the labels, never "
            f"extrapolated.{censored}"
        )
    ]


def _plan(plan: Mapping[str, Any], analysis: Mapping[str, Any]) -> Part:
    fit = plan["fit"]
    rule = plan["test"]
    test = (
        "as the data set's owners say"
        if rule["rule"] == "split"
        else f"{percent(rule['fraction'])} of patients, seed {rule['seed']}"
    )
    arms = "; ".join(f"{name} ({_start_of(arm)})" for name, arm in plan["arms"].items())
    rows = [
        ("arms", arms),
        ("fractions", ", ".join(percent(f) for f in plan["fractions"])),
        ("draws", str(plan["draws"])),
        ("test set", test),
        ("network", fit["model"]["name"]),
        ("training of every cell", f"{fit['steps']} steps of {fit['batch_size']} patches"),
        ("tuning", f"{plan['search']['trials']} setting for each arm"),
        ("metric", f"{plan['metric']}, margin {plan['margin']:g}"),
        ("target of the savings factor", f"scratch at {percent(plan['reference_fraction'])}"),
        ("SHA-256 of the plan", analysis["plan_sha256"]),
    ]
    return table(["frozen before the first training", ""], rows)


def _start_of(arm: Mapping[str, Any]) -> str:
    encoder = arm["encoder"]
    if encoder is None:
        return "random weights"
    return f"{encoder['method'] or 'an encoder'}, {encoder['volumes']} volumes"


def _deviations(analysis: Mapping[str, Any], failed: Mapping[str, str]) -> list[Part]:
    if not failed and not analysis["missing"]:
        return [text("Deviations from the plan: none.")]
    missing = analysis["missing"]
    rows = [
        (cell, failed.get(cell, "not run"), "missing" if cell in missing else "run again")
        for cell in sorted({*failed, *missing})
    ]
    return [text("Deviations from the plan:"), table(["cell", "why", "now"], rows)]


def _flow(plan: Mapping[str, Any]) -> list[Part]:
    data = plan["data"]
    rows: list[tuple[Any, ...]] = [
        (f"left out: {e['reason']}", e["patients"], e["cases"]) for e in plan["exclusions"]
    ]
    rows += [
        ("labelled", data["patients"], data["cases"]),
        ("test, sealed", data["test_patients"], data["test_cases"]),
        ("development", data["dev_patients"], data["dev_cases"]),
    ]
    subsets = pd.DataFrame(plan["subsets"])
    of_fraction = []
    for fraction, sizes in subsets.groupby("fraction"):
        of_fraction.append(
            (
                percent(float(str(fraction))),
                _range(sizes["patients"]),
                _range(sizes["cases"]),
                _range(sizes["val_patients"]),
                _range(sizes["val_cases"]),
            )
        )
    return [
        table(["", "patients", "cases"], rows),
        text("Labelled subsets, smallest to largest draw; validation is part of them:"),
        table(["share", "patients", "cases", "validating patients", "cases"], of_fraction),
    ]


def _evidence(evidence: Iterable[tuple[str, str]], ledger_root: str) -> list[Part]:
    return [
        text(f"Root of the ledger: {ledger_root}"),
        table(["file", "SHA-256"], evidence),
    ]


def _range(values: pd.Series[Any]) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _name(arm: str) -> str:
    return NAMES.get(arm, arm)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def _interval(bounds: Mapping[str, Any], show: Callable[[float | None], str]) -> str:
    return f"{show(bounds['lo'])} to {show(bounds['hi'])}"
