"""medssl check CONFIG"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

CONFIG = Annotated[Path, typer.Argument(help="YAML file of a pretraining run.")]
OUT = Annotated[Path, typer.Option("--out", help="Where the run would be written, for its disk.")]
SET = Annotated[
    list[str],
    typer.Option("--set", help="Override a key: --set batch_size=4. May be given repeatedly."),
]


def check(config: CONFIG, out: OUT = Path(), set_: SET = []) -> None:  # noqa: B006
    """Every problem of a pretraining configuration, and what the run will cost in time and memory.

    The first steps are run, in a process of their own; nothing is kept.
    """
    from medssl.config import load_config
    from medssl.engine.config import PretrainConfig

    loaded = load_config(PretrainConfig, config, set_)
    from medssl.engine.check import check_pretraining
    from medssl.errors import ConfigError

    found = check_pretraining(loaded, out.absolute())
    for what, value in found.facts:
        print(f"{what + ':':<9} {value}")
    for line in found.advice:
        print(f"advice:   {line}")
    if found.problems:
        for line in found.problems:
            print(f"problem:  {line}")
        count = len(found.problems)
        raise ConfigError(f"{config}: {count} problem{'s' if count > 1 else ''}, see above")
    overrides = "".join(f" --set {shlex.quote(override)}" for override in set_)
    print(f"fine: medssl pretrain {config} --out RUN{overrides}")
