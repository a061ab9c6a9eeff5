"""Tables of docs/explanation/finetuning.md from finetuning.json and few_labels.json beside it.

python docs/make_finetuning.py

The results are gathered by `benchmarks/finetuning.py --collect` and `benchmarks/few_labels.py
--collect`; the text around the tables is written by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from make_methods import mean, table, with_tables

PAGE = Path(__file__).parent / "explanation" / "finetuning.md"
RUNS = PAGE.with_suffix(".json")
FEW = PAGE.with_name("few_labels.json")
SEEDS = range(5)
RATES = (1e-3, 2e-3)
ARMS = {"scratch": "from scratch", "pretrained": "pretrained"}
NAMES = {
    "scratch": "from scratch",
    "pretrained": "pretrained, all weights",
    "pretrained_probe": "pretrained, linear probe",
    "untrained_probe": "untrained, linear probe",
}

Results = dict[str, Any]


def with_interval(metrics: dict[str, float], name: str) -> str:
    """A metric and its 95 % interval."""
    value, low, high = (metrics[f"test/{name}{end}"] for end in ("", "_lo", "_hi"))
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def hippocampus(runs: Results) -> str:
    rows = []
    for arm, label in ARMS.items():
        tried = [runs[f"hippocampus-{arm}-{rate:g}-0"] for rate in RATES]
        looks = [max(row["val/dice_mean"] for row in run["validation"]) for run in tried]
        for rate, run, look in zip(RATES, tried, looks, strict=True):
            metrics = run["metrics"]
            chosen = " (chosen)" if look == max(looks) else ""
            rows.append(
                [f"{label}, rate {rate:g}{chosen}", f"{look:.4f}"]
                + [with_interval(metrics, name) for name in ("dice_mean", "dice/1", "dice/2")]
                + [f"{metrics['test/hd95_mm_mean']:.2f}"]
            )
    head = ["", "validation", "test: Dice, mean", "anterior", "posterior", "HD95, mm"]
    return table(head, rows)


def hippocampus_seeds(runs: Results) -> str:
    """Either arm at the chosen rate under each seed, and the difference."""
    found = runs["hippocampus-seeds"]
    rows = [
        [
            label,
            " ".join(f"{dice:.4f}" for dice in found["arms"][arm]["draws"]),
            f"**{found['arms'][arm]['mean']:.4f}**",
            _between(found["arms"][arm], 4),
        ]
        for arm, label in ARMS.items()
    ]
    pairs = zip(*(found["arms"][arm]["draws"] for arm in ARMS), strict=True)
    gains = " ".join(f"{after - before:+.4f}" for before, after in pairs)
    effect = found["difference"]
    rows.append(["difference", gains, f"**{effect['delta']:+.4f}**", _between(effect, 4)])
    return table(["Dice, rate 0.002", "seeds 0, 1, 2", "mean", "95 %"], rows)


def nodules(runs: Results) -> str:
    metrics = runs["lung_nodules"]["metrics"]
    folds = [fold["test/auc_macro"] for fold in runs["lung_nodules"]["folds"]]
    rows = [
        ["network", with_interval(metrics, "auc_macro")],
        ["size alone", with_interval(metrics, "size_only_auc_macro")],
        ["difference", with_interval(metrics, "auc_macro_minus_size_only")],
        ["network, fold by fold", " ".join(f"{value:.3f}" for value in folds)],
    ]
    return table(["", "AUC"], rows)


def adrenal(runs: Results) -> str:
    rows = []
    for seed in SEEDS:
        run = runs[f"adrenal-{seed}"]
        chosen = max(row["val/auc_macro"] for row in run["validation"])
        rows.append([str(seed), f"{chosen:.3f}", with_interval(run["metrics"], "auc_macro")])
    test = [runs[f"adrenal-{seed}"]["metrics"]["test/auc_macro"] for seed in SEEDS]
    rows.append(["mean", "", f"**{mean(test):.3f}**"])
    return table(["Seed", "AUC, validation", "AUC, test"], rows)


def few(results: Results, store: str) -> str:
    found = results[store]
    rows = []
    for arm in found["differences"] | {"scratch": None}:
        values = found["arms"][arm]
        draws = " ".join(f"{value:.2f}" for value in values["draws"])
        rows.append([NAMES[arm], f"**{values['mean']:.3f}**", _between(values), draws, ""])
    rows.sort(key=lambda row: list(NAMES.values()).index(row[0]))
    for arm, effect in found["differences"].items():
        pairs = zip(found["arms"]["scratch"]["draws"], found["arms"][arm]["draws"], strict=True)
        gains = " ".join(f"{after - before:+.2f}" for before, after in pairs)
        told = [f"**{effect['delta']:+.3f}**", _between(effect), gains, f"{effect['mdd']:.3f}"]
        rows.append([f"{NAMES[arm]}, minus from scratch", *told])
    name = {"auc_macro": "AUC", "dice_mean": "Dice"}[found["metric"]]
    return table(["", name, "95 %", "each draw", "detectable"], rows)


def _between(values: dict[str, float], digits: int = 3) -> str:
    return f"{values['lo']:.{digits}f} to {values['hi']:.{digits}f}"


def tables(runs: Results, results: Results) -> dict[str, str]:
    """Every table of the page by its name."""
    made = {
        "hippocampus": hippocampus(runs),
        "hippocampus seeds": hippocampus_seeds(runs),
        "nodules": nodules(runs),
        "adrenal": adrenal(runs),
    }
    return made | {f"few {store}": few(results, store) for store in results}


def main() -> None:
    runs: Results = json.loads(RUNS.read_text(encoding="utf-8"))
    results: Results = json.loads(FEW.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_tables(page, tables(runs, results)), encoding="utf-8")


if __name__ == "__main__":
    main()
