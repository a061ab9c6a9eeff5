"""medssl pretrain CONFIG --out RUN"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CONFIG = Annotated[Path, typer.Argument(help="YAML file; configs/pretrain/ has examples.")]
OUT = Annotated[Path, typer.Option("--out", help="Folder of the run; the same one resumes it.")]
SET = Annotated[
    list[str],
    typer.Option("--set", help="Override a key: --set optim.lr=1e-3. May be given repeatedly."),
]


def pretrain(config: CONFIG, out: OUT, set_: SET = []) -> None:  # noqa: B006
    """Pretrain an encoder on a store, without labels. Runs under torchrun as well."""
    from medssl.cli.terminal import TerminalProgress
    from medssl.config import load_config
    from medssl.engine.config import PretrainConfig

    loaded = load_config(PretrainConfig, config, set_)
    # torch and monai take seconds to import: after the configuration is known to be right.
    from medssl.engine.pretrain import pretrain as run_pretraining

    result = run_pretraining(loaded, out, TerminalProgress())
    if not result.leads:
        return
    state = "was done already" if result.was_done else "done"
    print(
        f"pretraining {state}: {result.volumes} volumes, {result.seconds:.0f} s of steps, "
        f"final loss {result.final_loss:.4g}"
    )
    print(f"report:  {result.run / 'report.html'}")
    print(f"encoder: {result.encoder}")
