"""What was not taken, by reason, from the store's `rejected/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from medssl.archive.reasons import Reason
from medssl.report.quality_facts import batches

_SHOWN = 12  # of each reason
_ORDER = ("failed", "quarantined", "unpaired", "not an image")
_TAKEN = ("IMAGE_WITHOUT_LABEL", "IMAGE_LOOKS_LIKE_LABEL")  # reported, but the image is there


@dataclass(frozen=True)
class Refused:
    """Counts over all rows.

    Attributes:
        reasons: group, reason, kind, rows and files, in the order in which to look at them.
        examples: of each reason some rows, with source_key, kind and detail.
    """

    reasons: pd.DataFrame
    examples: pd.DataFrame

    @property
    def num_images(self) -> int:
        """Files and series that were not taken; labels apart."""
        rows = self.reasons
        images = (rows["kind"] != "label") & ~rows["reason"].isin(_TAKEN)
        return int(rows.loc[images, "rows"].sum())

    @property
    def most_urgent(self) -> str:
        """A sentence on what could be had by doing something, or empty."""
        lost = self.reasons[self.reasons["group"].isin(("failed", "quarantined"))]
        if lost.empty:
            return ""
        top = lost.groupby("reason")["rows"].sum().nlargest(3)
        named = ", ".join(f"{reason} {number:,}" for reason, number in top.items())
        return f"Not read beyond doubt: {int(lost['rows'].sum()):,} in all; {named}."


def read_refused(root: Path) -> Refused:
    """Count the rows of `rejected/` by reason.

    Raises:
        StoreError: a part file is damaged.
    """
    counts: list[pd.DataFrame] = []
    examples: list[pd.DataFrame] = []
    for rows in batches(root, "rejected", ["source_key", "kind", "reason", "detail", "n_files"]):
        grouped = rows.groupby(["reason", "kind"], as_index=False)
        counts.append(grouped.agg(rows=("n_files", "size"), files=("n_files", "sum")))
        examples.append(rows.groupby("reason").head(_SHOWN))
        if len(examples) > 100:
            examples = [pd.concat(examples).groupby("reason").head(_SHOWN)]
    if not counts:
        empty = pd.DataFrame(columns=["group", "reason", "kind", "rows", "files"])
        return Refused(empty, pd.DataFrame(columns=["source_key", "kind", "reason", "detail"]))
    table = pd.concat(counts).groupby(["reason", "kind"], as_index=False).sum()
    table["group"] = [Reason[reason].group for reason in table["reason"]]
    rank = table["group"].map({group: i for i, group in enumerate(_ORDER)}).fillna(len(_ORDER))
    table = table.assign(_rank=rank).sort_values(
        ["_rank", "rows", "reason"], ascending=[True, False, True]
    )
    return Refused(
        table.drop(columns="_rank").reset_index(drop=True),
        pd.concat(examples).groupby("reason").head(_SHOWN),
    )
