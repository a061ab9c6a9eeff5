"""Intensities by vendor: percentile bands of the manifest, histograms of the volumes shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from medssl.report.page import Part, Section, charts, drawing, table, text
from medssl.report.quality_charts import MOST_LINES, Axis, axis_for, bands, histogram
from medssl.report.quality_facts import Facts, count_of
from medssl.report.quality_pictures import Picture, vendor_name
from medssl.store.schema import PERCENTILES

_LABELS = {
    "HU": "Hounsfield units (HU)",
    "SUV": "standardised uptake value by body weight (SUV)",
    "BQML": "activity concentration (Bq/ml)",
    "arbitrary": "arbitrary units",
}
_MODALITIES = {"CT": "CT", "MR": "MR", "PT": "PET", "OT": "Modality not known"}


def values_section(facts: Facts, examples: pd.DataFrame, drawn: dict[str, Picture]) -> Section:
    """Every modality and unit: a band for each vendor, and histograms."""
    parts: list[Part] = [
        text(
            "Of the tissue alone (the foreground; CT above -500 HU). In each band the line reaches "
            "from the 0.5th to the 99.5th percentile, the bar from the 5th to the 95th, the box "
            "from the 25th to the 75th, the dot is the median; each is the median over the "
            "vendor's volumes."
        ),
        *_checks(facts, examples, drawn),
    ]
    scanners = facts.scanners.groupby(["modality", "units"], as_index=False)["volumes"].sum()
    for _, group in scanners.iterrows():
        parts += _group(facts, examples, drawn, group["modality"], group["units"])
    return Section("Intensities by vendor", parts)


def _checks(facts: Facts, examples: pd.DataFrame, drawn: dict[str, Picture]) -> list[Part]:
    words = facts.words
    rows: list[tuple[str, Any]] = []
    ct = words[words["modality"] == "CT"]
    if len(ct):
        seen = examples[(examples["modality"] == "CT") & (examples["units"] == "HU")]
        shares = [drawn[uid].outside_ct for uid in seen["volume_uid"]]
        rows.append(("CT volumes not in HU", int(ct.loc[ct["units"] != "HU", "volumes"].sum())))
        if shares:
            outside = float(np.mean(shares))
            rows.append(
                (
                    f"CT in HU: voxels outside -1024 to 3071, in {len(shares)} volumes looked at",
                    f"{outside:.3%}",
                )
            )
            some = sum(share > 0.001 for share in shares)
            rows.append(("of these volumes, with more than 0.1 % outside", some))
    pet = words[words["modality"] == "PT"]
    if len(pet):
        without = int(pet.loc[pet["units"] != "SUV", "volumes"].sum())
        rows.append(("PET volumes without SUV", f"{without:,} of {int(pet['volumes'].sum()):,}"))
    return [table(["check", "found"], rows)] if rows else []


def _group(
    facts: Facts, examples: pd.DataFrame, drawn: dict[str, Picture], modality: str, units: str
) -> list[Part]:
    rows = facts.sample[(facts.sample["modality"] == modality) & (facts.sample["units"] == units)]
    scanners = facts.scanners
    mine = scanners[(scanners["modality"] == modality) & (scanners["units"] == units)]
    volumes = mine.groupby("manufacturer")["volumes"].sum().sort_values(ascending=False)
    named = f"{_MODALITIES.get(modality, modality)}, {_LABELS.get(units, units)}"
    medians = rows.groupby("manufacturer")[list(PERCENTILES)].median().loc[list(volumes.index)]
    axis = axis_for(medians["p00_5"], medians["p99_5"], units)
    labels = {vendor: vendor_name(str(vendor)) for vendor in volumes.index}
    lines = [
        (f"{labels[vendor]} ({count_of(volumes[vendor])})", [float(v) for v in medians.loc[vendor]])
        for vendor in volumes.index
    ]
    parts = [
        drawing(
            bands(lines, axis, _axis_label(units, axis), f"Percentiles by vendor: {named}"),
            f"{named}: percentiles of the tissue by vendor.",
        )
    ]
    seen = examples[(examples["modality"] == modality) & (examples["units"] == units)]
    values = {
        vendor: _pool([drawn[uid].values for uid in group["volume_uid"]])
        for vendor, group in seen.groupby("manufacturer")
    }
    shown = [(v, values[v]) for v in volumes.index if v in values and len(values[v])][:MOST_LINES]
    number = seen.groupby("manufacturer").size()
    if units in ("HU", "SUV"):  # one scale for all: side by side on one axis
        curves = [(f"{labels[v]} ({count_of(number[v])})", x) for v, x in shown]
        if curves:
            scale = _scale_of([x for _, x in curves])
            parts.append(
                drawing(
                    histogram(curves, scale, _LABELS[units], f"Histogram by vendor: {named}"),
                    f"{named}: histogram of the tissue in the middle planes of the volumes shown "
                    "below, each curve to the same area"
                    + (f": {curves[0][0]}." if len(curves) == 1 else "."),
                )
            )
    else:  # no common scale: each on its own axis
        small = [
            drawing(
                histogram(
                    [(labels[v], x)], _scale_of([x]), _LABELS[units], f"Histogram: {labels[v]}"
                ),
                f"{named}, {labels[v]}: histogram of the tissue in the middle planes of "
                f"{count_of(number[v])}.",
            )
            for v, x in shown
        ]
        if small:
            parts.append(charts(small))
    return parts


def _pool(values: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Every volume with the same weight."""
    least = min((len(v) for v in values if len(v)), default=0)
    kept = [v[:: max(1, len(v) // max(least, 2000))] for v in values if len(v)]
    return np.concatenate(kept) if kept else np.zeros(0, np.float32)


def _scale_of(values: list[np.ndarray[Any, Any]]) -> Axis:
    low = min(float(np.percentile(v, 0.2)) for v in values)
    high = max(float(np.percentile(v, 99.5)) for v in values)
    return Axis(low, high if high > low else low + 1.0)


def _axis_label(units: str, axis: Axis) -> str:
    return _LABELS.get(units, units) + (", compressed axis" if axis.compressed else "")
