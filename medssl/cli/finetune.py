"""medssl finetune CONFIG --out RUN"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medssl.transfer.config import SplitConfig

CONFIG = Annotated[Path, typer.Argument(help="YAML file; configs/finetune/ has examples.")]
OUT = Annotated[Path, typer.Option("--out", help="Folder of the run; the same one resumes it.")]
SET = Annotated[
    list[str],
    typer.Option("--set", help="Override a key: --set init=RUN. May be given repeatedly."),
]


def finetune(config: CONFIG, out: OUT, set_: SET = []) -> None:  # noqa: B006
    """Train a classifier or a segmenter on labels, from a pretrained encoder or from scratch."""
    from medssl.cli.terminal import TerminalProgress
    from medssl.config import load_config
    from medssl.transfer.config import FinetuneConfig

    loaded = load_config(FinetuneConfig, config, set_)
    # torch and monai take seconds to import: after the configuration is known to be right.
    from medssl.transfer.finetune import finetune as run_finetuning

    result = run_finetuning(loaded, out, TerminalProgress())
    state = "was done already" if result.was_done else "done"
    print(f"fine-tuning {state}: {result.seconds:.0f} s of steps; {_tested(loaded.split)}:")
    for line in result.lines:
        print(f"  {line}")
    print(f"predictions: {result.predictions}")
    print(f"model:       {result.model}")
    print(f"report:      {result.run / 'report.html'}")


def _tested(split: SplitConfig) -> str:
    """Whose results follow."""
    if split.source == "folds":
        return f"all patients, each tested once ({split.folds} folds)"
    return "test part"
