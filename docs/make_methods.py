"""Tables and picture of docs/explanation/methods.md from docs/explanation/methods.json.

python docs/make_methods.py

The results are gathered by `benchmarks/methods.py --collect`. Each table stands in the page between
two comments that name it; the text around them is written by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "explanation" / "methods.md"
RESULTS = PAGE.with_suffix(".json")
PICTURE = Path(__file__).parent / "images" / "methods.png"

METHODS = ("hybrid", "mae", "simclr", "moco")
SEEDS = (0, 1, 2)
PROBED = ("lung_nodules", "adrenal")
SEGMENTED = ("hippocampus", "sarcoma")
PROBES = {"linear": "Linear probe", "knn": "Nearest neighbours"}
_DASHES = {
    "random": ":",
    "hybrid": "-",
    "mae": "--",
    "simclr": "-.",
    "moco": (0, (5, 1, 1, 1, 1, 1)),
}
_MARKS = {"random": "x", "hybrid": "o", "mae": "s", "simclr": "^", "moco": "v"}

Results = dict[str, Any]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def by_seed(results: Results, store: str, encoder: str, probe: str, count: str) -> list[float]:
    """AUC under each seed, the mean over the draws of labelled patients."""
    return [
        mean(results["cells"][f"probe-{store}-{encoder}-{seed}"]["auc"][probe][count])
        for seed in SEEDS
    ]


def dice_by_seed(results: Results, store: str, arm: str, count: int) -> list[float]:
    return [results["cells"][f"fit-{store}-{arm}-{count}-{seed}"]["dice"] for seed in SEEDS]


def beyond(values: list[float], bar: list[float]) -> str:
    """+ where every seed lies above every seed of the bar, - where below, else nothing."""
    if min(values) > max(bar):
        return " +"
    return " −" if max(values) < min(bar) else ""


def shown(values: list[float], bar: list[float] | None = None) -> str:
    """The mean, whether it is beyond the bar's spread, and every seed."""
    seeds = " ".join(f"{value:.3f}" for value in values)
    mark = "" if bar is None else beyond(values, bar)
    return f"**{mean(values):.3f}**{mark} ({seeds})"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def counts_of(results: Results) -> list[str]:
    return [*(str(count) for count in results["labelled"]), "all"]


def probe_table(results: Results, store: str, probe: str) -> str:
    """Rows: size alone, the untrained encoder, each method; columns: labelled patients."""
    counts = counts_of(results)
    size = results["cells"][f"size-{store}"]["auc"]
    rows = [["size alone", *(f"{mean(size[count]):.3f}" for count in counts)]]
    bars = {count: by_seed(results, store, "random", probe, count) for count in counts}
    rows.append(["untrained", *(shown(bars[count]) for count in counts)])
    for method in METHODS:
        values = [by_seed(results, store, method, probe, count) for count in counts]
        cells = [shown(v, bars[c]) for v, c in zip(values, counts, strict=True)]
        rows.append([f"`{method}`", *cells])
    return table([f"{PROBES[probe]}, labelled patients", *counts], rows)


def fit_table(results: Results, store: str) -> str:
    """Rows: from scratch and each method; columns: patients with masks."""
    counts = results["settings"][store]["labelled"]
    bars = {count: dice_by_seed(results, store, "scratch", count) for count in counts}
    rows = []
    for arm in ("scratch", *METHODS):
        values = {count: dice_by_seed(results, store, arm, count) for count in counts}
        rate = results["cells"][f"fit-{store}-{arm}-{counts[0]}-0"]["rate"]
        cells = [shown(values[c], None if arm == "scratch" else bars[c]) for c in counts]
        name = "from scratch" if arm == "scratch" else f"`{arm}`"
        rows.append([name, f"{rate:g}", *cells])
    return table(["Dice, patients with masks", "rate", *(str(c) for c in counts)], rows)


def same_rate_table(results: Results, store: str) -> str:
    """As `fit_table`, with every arm at the highest of the rates."""
    counts = results["settings"][store]["labelled"]
    cells = results["cells"]

    def dice(arm: str, count: int) -> list[float]:
        names = [f"{store}-{arm}-{count}-{seed}" for seed in SEEDS]
        return [cells.get(f"same-{n}", cells[f"fit-{n}"])["dice"] for n in names]

    rows = []
    for arm in ("scratch", *METHODS):
        bars = [None if arm == "scratch" else dice("scratch", count) for count in counts]
        shown_cells = [shown(dice(arm, c), bar) for c, bar in zip(counts, bars, strict=True)]
        rows.append(["from scratch" if arm == "scratch" else f"`{arm}`", *shown_cells])
    rate = max(results["settings"][store]["rates"])
    return table([f"Dice, all at rate {rate:g}", *(str(c) for c in counts)], rows)


def modality_table(results: Results, store: str) -> str:
    """Dice by modality, the mean over seeds, at each number of patients with masks."""
    counts = results["settings"][store]["labelled"]
    first = results["cells"][f"fit-{store}-scratch-{counts[0]}-0"]["by_modality"]
    head = ["Dice", *(f"{m}, {count}" for count in counts for m in first)]
    rows = []
    for arm in ("scratch", *METHODS):
        cells = [
            mean([results["cells"][f"fit-{store}-{arm}-{c}-{s}"]["by_modality"][m] for s in SEEDS])
            for c in counts
            for m in first
        ]
        name = "from scratch" if arm == "scratch" else f"`{arm}`"
        rows.append([name, *(f"{cell:.3f}" for cell in cells)])
    return table(head, rows)


def cost_table(results: Results) -> str:
    """Seconds of one core for a pretraining: the mean over seeds; steps and batch."""
    rows = []
    for method in METHODS:
        cells = []
        for store in (*PROBED, *SEGMENTED):
            runs = [results["cells"][f"pretrain-{store}-{method}-{seed}"] for seed in SEEDS]
            seconds = mean([run["core_seconds"] for run in runs])
            cells.append(f"{seconds:.0f} s ({runs[0]['steps']} × {runs[0]['batch_size']})")
        rows.append([f"`{method}`", *cells])
    return table(["Pretraining", *(f"`{store}`" for store in (*PROBED, *SEGMENTED))], rows)


def who_table(results: Results) -> str:
    """Volumes (and patients) to pretrain on, to draw labels from, to test on."""
    rows = []
    for store in (*PROBED, *SEGMENTED):
        seen = results["cells"][f"pretrain-{store}-mae-0"]["volumes"]
        if store in PROBED:
            parts = results["cells"][f"size-{store}"]["counts"]
            labelled, test = (_counted(parts[part]) for part in ("dev", "test"))
        else:
            count = results["settings"][store]["labelled"]
            fits = [results["cells"][f"fit-{store}-scratch-{c}-0"]["counts"] for c in count]
            labelled = " or ".join(_counted(fit["train"]) for fit in fits)
            test = _counted(fits[0]["test"])
        patch = "×".join(str(n) for n in results["settings"][store]["augment"]["patch"]["size"])
        rows.append([f"`{store}`", patch, str(seen), labelled, test])
    head = [
        "Store",
        "patch",
        "volumes seen in pretraining",
        "labelled (patients)",
        "test (patients)",
    ]
    return table(head, rows)


def _counted(part: dict[str, int]) -> str:
    return f"{part['volumes']} ({part['patients']})"


def tables(results: Results) -> dict[str, str]:
    """Every table of the page by its name."""
    found = {"who": who_table(results), "cost": cost_table(results)}
    for store in PROBED:
        for probe in PROBES:
            found[f"{store} {probe}"] = probe_table(results, store, probe)
    for store in SEGMENTED:
        found[store] = fit_table(results, store)
    found["sarcoma at one rate"] = same_rate_table(results, "sarcoma")
    found["sarcoma by modality"] = modality_table(results, "sarcoma")
    return found


def with_tables(page: str, made: dict[str, str]) -> str:
    """The page with each table put between its two comments.

    Raises:
        KeyError: the page names a table that is not made.
        ValueError: a table has no place in the page.
    """
    places = re.compile(r"(<!-- begin ([\w ]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
    named = [match[2] for match in places.finditer(page)]
    if sorted(named) != sorted(made):
        raise ValueError(f"tables without a place, or twice: {sorted(set(made) ^ set(named))}")
    return places.sub(lambda match: f"{match[1]}{made[match[2]]}\n{match[3]}", page)


def draw(results: Results, path: Path) -> None:
    """The linear probe by number of labelled patients, every seed a mark."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    counts = counts_of(results)
    figure, axes = plt.subplots(1, len(PROBED), figsize=(9, 3.6), layout="constrained")
    for axis, store in zip(axes, PROBED, strict=True):
        size = results["cells"][f"size-{store}"]["auc"]
        axis.plot([mean(size[c]) for c in counts], color="0.75", lw=4, label="size alone")
        for number, name in enumerate(("random", *METHODS)):
            grey = "0.45" if name == "random" else str(0.1 * number)
            seeds = [by_seed(results, store, name, "linear", c) for c in counts]
            label = "untrained" if name == "random" else name
            axis.plot([mean(s) for s in seeds], ls=_DASHES[name], marker=_MARKS[name],
                      color=grey, label=label, ms=5)  # fmt: skip
            for at, values in enumerate(seeds):
                axis.plot([at + 0.05 * (number - 2)] * 3, values, _MARKS[name], color=grey, ms=2)
        axis.set_xticks(range(len(counts)), counts)
        axis.set_xlabel("labelled patients")
        axis.set_title(store)
    axes[0].set_ylabel("AUC on test patients")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    results: Results = json.loads(RESULTS.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_tables(page, tables(results)), encoding="utf-8")
    draw(results, PICTURE)


if __name__ == "__main__":
    main()
