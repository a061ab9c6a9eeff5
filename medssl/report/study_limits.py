"""What a reader of a study has to keep in mind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from medssl.report.study_words import arm_name


def limits(plan: Mapping[str, Any], analysis: Mapping[str, Any], cases: pd.DataFrame) -> list[str]:
    """The limits, as far as the files tell them."""
    return [
        *_of_draws(plan),
        *_of_training(plan),
        *_of_cases(plan, analysis, cases),
        *([analysis["intervals"]["note"]] if analysis["intervals"].get("note") else []),
        "Intervals resample the patients of one test set and the draws; another hospital's "
        "patients are not in them.",
    ]


def _of_draws(plan: Mapping[str, Any]) -> list[str]:
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
    return lines


def _of_training(plan: Mapping[str, Any]) -> list[str]:
    lines = []
    if plan["search"]["trials"] == 1:
        lines.append(
            "Nothing was tuned: all arms ran with the settings of the plan. Settings that suit "
            "one arm better would shift the curve."
        )
    elif any(not subset["val_cases"] for subset in plan["subsets"]):
        lines.append(
            "Where a subset is too small for a validation part nothing was tuned: its cells ran "
            "the first setting, and kept the last weights."
        )
    probes = [name for name, arm in plan["arms"].items() if arm["regime"] != "full"]
    if probes and "random_linear" not in probes:
        lines.append(
            f"{', '.join(arm_name(arm) for arm in probes)}: without the probe on an untrained "
            "encoder nobody knows how much of this is pretraining."
        )
    for name, arm in plan["arms"].items():
        if arm["encoder"] is not None and not arm["encoder"]["volumes"]:
            lines.append(
                f"Nothing says which volumes the encoder of {name} saw: whether it saw test "
                "patients cannot be checked."
            )
    return lines


def _of_cases(
    plan: Mapping[str, Any], analysis: Mapping[str, Any], cases: pd.DataFrame
) -> list[str]:
    lines = []
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
    return lines
