"""What a study cost, and what each saved label cost with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medssl.efficiency.estimate import duration
from medssl.report.page import Part, Section, table, text
from medssl.report.study_record import Json, StudyRecord
from medssl.report.study_words import arm_name, energy, memory, percent

_SIGNS = {"none": "", "at_least": "at least ", "at_most": "at most "}
_TURNED = {"none": "", "at_least": "at most ", "at_most": "at least "}


def cost_section(record: StudyRecord) -> Section:
    """Seconds, memory and energy of pretraining and of each arm; the price of the saved labels."""
    rows = [
        _of_arm(arm_name(arm), cells)
        for arm in record.plan["arms"]
        if (cells := record.cells_of(arm))
    ]
    pretraining = record.pretraining
    if pretraining is not None:
        seconds = pretraining["seconds"]
        steps = "–" if pretraining["steps"] is None else f"{pretraining['steps']:,}"
        rows.insert(
            0,
            (
                f"pretraining ({pretraining['method'] or 'method not known'})",
                "–",
                "–",
                steps,
                "–",
                "–" if seconds is None else duration(seconds),
                memory(pretraining["peak_memory_bytes"]),
                energy(pretraining["kwh"]),
            ),
        )
    if not rows:
        return Section("Cost", [text("No cell has left a record of what it cost.")])
    head = ["", "cells", "trials", "steps", "a cell", "in all", "peak memory", "energy"]
    parts: list[Part] = [
        table(head, rows),
        text(
            "Wall-clock time of training, tuning and predicting on the machines named below. "
            "A dash: not measured. Energy is measured or estimated where codecarbon is installed: "
            "that of the whole machine, shared out equally among the workers of --workers; on a "
            "cluster each worker counts its machine whole. Of a training of several processes "
            "memory is that of the leading one, and energy that of its machine."
        ),
    ]
    return Section("Cost", [*parts, *price_of_labels(record)])


def price_of_labels(record: StudyRecord) -> list[Part]:
    """What pretraining cost for each label that it saved; empty without pretraining."""
    pretraining, savings = record.pretraining, record.analysis["lsf"]
    if pretraining is None:
        return []
    if savings is None or savings["value"] is None or savings["censored"] == "undefined":
        return [text("How many labels were saved is not known, so they have no price.")]
    saved = savings["scratch_labels"] - savings["pretrained_labels"]
    if saved <= 0:
        return [
            text(
                "Pretraining saved no label at the target of the savings factor: its cost bought "
                "none."
            )
        ]
    censored = savings["censored"]
    told = (
        f"At the target of the savings factor ({percent(savings['reference_fraction'])} from "
        f"scratch) {_SIGNS[censored]}{saved:.0f} labels were saved in each draw"
    )
    seconds, kwh = pretraining["seconds"], pretraining["kwh"]
    prices = []
    if seconds is not None:
        prices.append(f"{seconds / saved:.3g} s of pretraining")
    if kwh is not None:
        prices.append(f"{kwh / saved:.3g} kWh")
    if not prices:
        return [text(f"{told}; what pretraining cost is not known.")]
    doubt = (
        ""
        if savings["lo"] is not None and savings["lo"] > 1
        else " The factor's interval does not exclude that none was saved."
    )
    return [
        text(
            f"{told}: {_TURNED[censored]}{' and '.join(prices)} a label. An encoder that serves "
            f"further tasks is cheaper; the search for its recipe is not counted.{doubt}"
        )
    ]


def _of_arm(name: str, cells: Sequence[Json]) -> tuple[Any, ...]:
    seconds = sum(cell["cost"]["seconds"] for cell in cells)
    trials = sum(len(cell["trials"]) for cell in cells)
    steps = sum(trial["steps"] for cell in cells for trial in cell["trials"])
    return (
        name,
        len(cells),
        trials,
        f"{steps:,}" if steps else "none",
        duration(seconds / len(cells)),
        duration(seconds),
        memory(max(_known(cells, "peak_memory_bytes"), default=None)),
        energy(sum(kwh) if len(kwh := _known(cells, "kwh")) == len(cells) else None),
    )


def _known(cells: Sequence[Json], what: str) -> list[float]:
    """What the cells that were measured cost."""
    return [cell["cost"][what] for cell in cells if cell["cost"][what] is not None]
