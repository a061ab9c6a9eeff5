"""The curve, the differences to scratch, and the labels that were saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medssl.report.effects_chart import effects_alt, effects_chart
from medssl.report.learning_curve import curve_alt, savings_text
from medssl.report.page import Part, Section, details, figure, subheading, table, text
from medssl.report.study_record import StudyRecord
from medssl.report.study_words import arm_name, interval, number, percent, signed

_SIGNIFICANT = {True: "significant", False: "not significant", None: "too few draws to say"}


def curve_section(record: StudyRecord, png: bytes) -> Section:
    analysis = record.analysis
    intervals = analysis["intervals"]
    return Section(
        "Learning curve",
        [
            figure(
                png,
                f"Mean over {intervals['draws']} draws; bands are {percent(intervals['level'])} "
                f"intervals over patients and draws ({intervals['replicates']} replicates, "
                f"{intervals['test_patients']} test patients); open marks are single draws. "
                "Labels include those of validation.",
                curve_alt(analysis["curve"], analysis["metric"]),
            ),
            details("The numbers of the curve", [_points(analysis)]),
        ],
    )


def effects_section(record: StudyRecord) -> Section:
    """Differences with intervals and what could be detected; areas; the secondary tests."""
    plan, analysis = record.plan, record.analysis
    if not analysis["effects"]:
        return Section("Effects", [text("There is one arm only: nothing is compared.")])
    parts: list[Part] = [
        text(
            f"Difference in {analysis['metric']} to training from scratch. Detectable: the "
            "difference that this study would find four times in five (2.80 standard errors), to "
            "be read beside every difference that is not significant. p by the exact sign-flip "
            f"test over draws, whose floor here is {min(1.0, 2 / 2 ** plan['draws']):.2g}; Holm's "
            "correction over the fractions of an arm."
        )
    ]
    if any(effect["delta"] is not None for effect in analysis["effects"]):
        drawn = effects_chart(analysis["effects"], analysis["curve"], plan["margin"])
        caption = (
            "Difference to scratch with its interval; open marks are single draws. The grey bar "
            "reaches as far as the smallest difference that could be detected: within it a null "
            "result shows nothing. Between the dotted lines differences are within the margin."
        )
        parts.append(figure(drawn, caption, effects_alt(analysis["effects"])))
    others = [e for e in analysis["effects"] if e["arm"] != analysis["arm"]]
    parts.append(_effects([e for e in analysis["effects"] if e["arm"] == analysis["arm"]]))
    if others:
        parts.append(details("The other arms", [_effects(others)]))
    areas = [(arm, area) for arm, area in analysis["aulc"].items() if area is not None]
    if areas:
        rows = [(arm_name(a), number(v["value"]), interval(v)) for a, v in areas]
        parts.append(
            table(["area under the curve (over log2 labels)", "value", "95 % interval"], rows)
        )
    return Section("Effects", [*parts, *_paired(analysis), *_controls(record)])


def savings_section(record: StudyRecord) -> Section:
    return Section("Labels saved", _savings(record.analysis["lsf"]))


def _points(analysis: Mapping[str, Any]) -> Part:
    rows = [
        (
            arm_name(p["arm"]),
            percent(p["fraction"]),
            f"{p['labels']:.4g}",
            f"{p['patients']:.4g}",
            number(p["mean"]),
            interval(p),
            ", ".join(number(value) for value in p["draws"]),
        )
        for p in analysis["curve"]
    ]
    head = ["arm", "share", "labels", "patients", analysis["metric"], "95 % interval", "draws"]
    return table(head, rows)


def _effects(effects: Sequence[Mapping[str, Any]]) -> Part:
    rows = [
        (
            arm_name(e["arm"]),
            percent(e["fraction"]),
            round(e["labels"]),
            signed(e["delta"]),
            interval(e, signed),
            number(e["mdd"]),
            e["p"],
            e["p_holm"],
            _SIGNIFICANT[e["significant"]],
        )
        for e in effects
    ]
    head = ["arm", "share", "labels", "difference", "95 % interval", "detectable", "p", "p (Holm)"]
    return table([*head, ""], rows)


def _paired(analysis: Mapping[str, Any]) -> list[Part]:
    tests = analysis["paired_tests"]
    if not tests:
        return []
    named = {"delong": "DeLong", "wilcoxon": "Wilcoxon signed-rank"}
    rows = [
        (
            arm_name(row["arm"]),
            percent(row["fraction"]),
            named[row["test"]],
            signed(row["delta"]),
            number(row["se"]),
            row["p"],
            row["p_holm"],
            row["patients"],
        )
        for row in tests
    ]
    head = ["arm", "share", "test", "difference", "SE", "p", "p (Holm)", "patients"]
    note = text(
        "These take the trained networks as given: they speak of other patients, not of another "
        "draw of labels, and the verdict does not rest on them."
    )
    return [details("Secondary: paired tests over patients", [note, table(head, rows)])]


def _controls(record: StudyRecord) -> list[Part]:
    controls = record.analysis["controls"]
    parts: list[Part] = []
    if controls["permuted_labels"]:
        holds = {True: "chance, as it must be", False: "not chance: a leak", None: "not run"}
        rows = [
            (percent(c["fraction"]), number(c["value"]), interval(c), holds[c["holds"]])
            for c in controls["permuted_labels"]
        ]
        parts += [
            subheading("Control: labels permuted"),
            text("Trained on labels dealt out anew, a network must not tell the classes apart."),
            table(["share", "AUC", "95 % interval", ""], rows),
        ]
    if controls["scratch_2x"]:
        margin = record.plan["margin"]
        rows = [
            (percent(c["fraction"]), signed(c["gain"]), interval(c, signed), _patience(c, margin))
            for c in controls["scratch_2x"]
        ]
        parts += [
            subheading("Control: twice the steps"),
            text("What training from scratch gains by twice the steps."),
            table(["share", "gain", "95 % interval", ""], rows),
        ]
    return parts


def _patience(control: Mapping[str, Any], margin: float) -> str:
    if control["gain"] is None:
        return "not run"
    return "under the margin" if control["gain"] < margin else "scratch was stopped too early"


def _savings(savings: Mapping[str, Any] | None) -> list[Part]:
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
    arm = savings.get("arm")
    who = f"{arm_name(arm)[0].upper()}{arm_name(arm)[1:]}: {words}" if arm else words
    return [
        text(
            f"{who} to reach {savings['target']:.3f}, what training from "
            f"scratch reaches with {percent(savings['reference_fraction'])} of the labels (95 % "
            f"interval: {lo}, {hi}). Curves made monotone, linear in log2 of the labels, never "
            f"extrapolated.{censored}"
        ),
        *_two_ways(savings),
    ]


def _two_ways(savings: Mapping[str, Any]) -> list[Part]:
    """The factor by isotonic regression beside that by power laws."""
    law = savings.get("power_law")
    if law is None:
        return [text("A power law was not fitted: it takes four fractions or more.")]
    agreement = savings["agreement"]
    told = (
        "One of the two is a bound only, so that they are not compared."
        if agreement is None
        else f"They are {agreement:.2f} times apart"
        + (", within the 1.5 that count as agreement." if agreement <= 1.5 else ", over 1.5.")
    )
    rows = [
        ("isotonic regression", number(savings["target"]), _factor(savings), "–", "–"),
        ("power law", number(law["target"]), _factor(law), _law(law, "scratch"),
         _law(law, "pretrained")),
    ]  # fmt: skip
    head = ["read by", "target", "factor", "from scratch", "pretrained"]
    return [
        table(head, rows),
        text(f"The power law is 1 − θ = A + B n^(−c), fitted to each arm. {told}"),
    ]


def _factor(reading: Mapping[str, Any]) -> str:
    signs = {"none": "", "at_least": "≥ ", "at_most": "≤ "}
    if reading["value"] is None or reading["censored"] not in signs:
        return "undefined"
    return f"{signs[reading['censored']]}{reading['value']:.2f}"


def _law(law: Mapping[str, Any], arm: str) -> str:
    fit = law[arm]
    return f"A {fit['a']:.3g}, B {fit['b']:.3g}, c {fit['c']:.3g} (residual {fit['rmse']:.2g})"
