"""medssl anomaly RUN STORE --out DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def anomaly(
    run: Annotated[
        Path, typer.Argument(help="Folder of a finished pretraining run of mae, hybrid or simmim.")
    ],
    store: Annotated[Path, typer.Argument(help="Store of the scans to screen.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the results; the same one takes up where it was.")
    ],
    healthy: Annotated[
        Path | None,
        typer.Option(help="Store of other patients without findings: what error is usual."),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="How often each window is dealt into masks; 1 if not given.")
    ] = None,
) -> None:
    """Map where a masked model cannot say what it does not see, and rank scans by it."""
    from medssl.anomaly.config import AnomalyConfig
    from medssl.cli.terminal import TerminalProgress
    from medssl.config import parse_config
    from medssl.errors import JudgedAndFailed
    from medssl.report.quality_facts import count_of

    stated = {"run": run, "store": store, "healthy": healthy, "repeats": repeats}
    values = {name: value for name, value in stated.items() if value is not None}
    config = parse_config(AnomalyConfig, values, source="medssl anomaly")
    from medssl.anomaly.screen import screen

    result = screen(config, out, TerminalProgress())
    for line in result.lines():
        print(line, flush=True)
    if result.failed:
        raise JudgedAndFailed(
            f"{count_of(result.failed)} could not be read; the same command tries again"
        )
