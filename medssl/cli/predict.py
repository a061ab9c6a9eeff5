"""medssl predict RUN INPUT --out OUT"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished fine-tuning run.")],
    input_: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="Folder of DICOM and NIfTI, or one such file; or a store."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder of the results; the same one takes up where it was."),
    ],
    modality: Annotated[
        str | None, typer.Option(help="CT, MR, PT or OT: of NIfTI files, which do not say.")
    ] = None,
    cases: Annotated[
        Path | None, typer.Option(help="CSV that says what files cannot, as for ingest.")
    ] = None,
) -> None:
    """Apply a fine-tuned model to scans: masks as NIfTI and DICOM SEG, classes, volumes in ml."""
    from medssl.archive.pool import warm_up

    if not (input_ / "store.json").is_file():
        warm_up()
    from medssl.cli.terminal import TerminalProgress
    from medssl.config import parse_config
    from medssl.errors import JudgedAndFailed
    from medssl.predict.config import PredictConfig

    stated = {"run": run, "input": input_, "out": out, "modality": modality, "cases": cases}
    values = {name: value for name, value in stated.items() if value is not None}
    config = parse_config(PredictConfig, values, source="medssl predict")
    from medssl.predict.predict import predict as run_prediction

    result = run_prediction(config, TerminalProgress())
    for line in result.lines():
        print(line, flush=True)
    if result.failed:
        raise JudgedAndFailed(
            f"{len(result.failed)} volumes failed ({result.failed[0].detail}); the same command "
            "tries them again"
        )
    if not result.predicted + result.done_before:
        raise JudgedAndFailed("nothing was predicted: no volume of INPUT was taken")
