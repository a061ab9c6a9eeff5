"""medssl label-efficiency plan|run|analyze CONFIG --out STUDY"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from medssl.efficiency.config import StudyConfig

app = typer.Typer(
    help="How many labels pretraining saves: plan a study, run it, analyze it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

CONFIG = Annotated[Path, typer.Argument(help="YAML file; configs/efficiency/ has examples.")]
OUT = Annotated[Path, typer.Option("--out", help="Folder of the study; the same one resumes it.")]
SET = Annotated[
    list[str],
    typer.Option("--set", help="Override a key: --set draws=3. May be given repeatedly."),
]
WORKERS = Annotated[
    int, typer.Option("--workers", help="Processes that train a cell each, at the same time.")
]


@app.command()
def plan(config: CONFIG, out: OUT, set_: SET = [], workers: WORKERS = 1) -> None:  # noqa: B006
    """Decide everything and freeze it, before anything is trained; say what it will cost."""
    from medssl.cli.terminal import TerminalProgress
    from medssl.efficiency.cells import cells_of_plan

    loaded = _load(config, set_)
    from medssl.efficiency.plan import plan_study

    result = plan_study(loaded, out, TerminalProgress())
    data, cells = result.plan["data"], cells_of_plan(result.plan)
    state = "was frozen already" if result.was_there else "frozen"
    print(
        f"plan {state}: {len(cells)} cells; {data['test_patients']} test patients "
        f"({data['test_cases']} cases), {data['dev_patients']} for development "
        f"({data['dev_cases']} cases)"
    )
    for line in _subset_lines(result.plan):
        print(line)
    if result.was_there:  # else it was said when the plan was made
        print(result.plan["power"]["note"])
    from medssl.efficiency.estimate import estimate_cost

    for line in estimate_cost(loaded, result.plan, workers).lines():
        print(line)
    print(f"plan SHA-256 {result.plan_sha256}")
    also = f" --workers {workers}" if workers > 1 else ""
    print(f"next:    medssl label-efficiency run {config} --out {out}{_overrides(set_)}{also}")
    print(f"plan:    {out / 'plan.json'}")


@app.command()
def run(
    config: CONFIG,
    out: OUT,
    set_: SET = [],  # noqa: B006
    workers: WORKERS = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler, tls://host:8786: its workers train.")
    ] = None,
) -> None:
    """Train every cell that is not done; plans first where nothing is planned."""
    from medssl.cli.terminal import TerminalProgress

    loaded = _load(config, set_)
    from medssl.efficiency.study import run_study

    result = run_study(loaded, out, TerminalProgress(), workers=workers, scheduler=scheduler)
    if result.was_done:
        print(f"study was done already: {result.cells} cells")
    else:
        print(f"study done: {result.trained} cells trained now, {result.cells} in all")
    print(f"ledger root {result.ledger_root}")
    print(f"next:    medssl label-efficiency analyze {config} --out {out}{_overrides(set_)}")
    print(f"study:   {out}")


@app.command()
def analyze(config: CONFIG, out: OUT, set_: SET = []) -> None:  # noqa: B006
    """Compute the curve, its intervals and the claim's verdict from the study's files."""
    loaded = _load(config, set_)
    from medssl.efficiency.publish import analyse_study

    result = analyse_study(loaded, out)
    print(result.headline)
    if result.missing:
        print(f"{len(result.missing)} cells are missing: {', '.join(result.missing)}")
    print(f"ledger root {result.ledger_root}")
    print(f"next:    medssl audit {out}")
    print(f"curve:   {result.curve}")
    print(f"report:  {result.report}")


def _load(config: Path, overrides: list[str]) -> StudyConfig:
    from medssl.config import load_config
    from medssl.efficiency.config import StudyConfig

    return load_config(StudyConfig, config, overrides)


def _overrides(overrides: list[str]) -> str:
    import shlex

    return "".join(f" --set {shlex.quote(item)}" for item in overrides)


def _subset_lines(plan: dict[str, Any]) -> list[str]:
    """One line a fraction: the smallest and the largest number of labels over the draws."""
    import pandas as pd

    lines = []
    for fraction, sizes in pd.DataFrame(plan["subsets"]).groupby("fraction"):
        low, high = sizes["cases"].min(), sizes["cases"].max()
        labels = f"{low}" if low == high else f"{low} to {high}"
        val = int(sizes["val_patients"].max())
        validation = (
            f"validation by {val} of the patients" if val else "no validation: last weights"
        )
        patients = int(sizes["patients"].iloc[0])
        lines.append(f"  {fraction:>4.0%}: {patients} patients, {labels} labels, {validation}")
    return lines
