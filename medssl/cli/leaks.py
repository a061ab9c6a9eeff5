"""medssl leaks search A B --out DIR, medssl leaks rule DIR PAIR same|different --by NAME"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="The same patients and scans in two corpora: search for them, and rule on look-alikes.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("search")
def search(
    a: Annotated[
        Path,
        typer.Argument(
            help="Folder of a store, a pretraining run (the volumes that it saw) or a study (its "
            "test cases)."
        ),
    ],
    b: Annotated[
        Path | None,
        typer.Argument(
            help="The same; left out: what the study A learned from, its development cases and the "
            "volumes that its encoder saw."
        ),
    ] = None,
    *,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the results. The same one keeps its rulings; an audit looks in "
            "STUDY/leaks."
        ),
    ],
    store: Annotated[
        list[Path],
        typer.Option(
            help="Store with the voxels of a run or a study, for pictures and --encoder. May be "
            "given repeatedly."
        ),
    ] = [],  # noqa: B006
    encoder: Annotated[
        Path | None,
        typer.Option(help="Pretraining run: compare its encoder's embeddings of all volumes too."),
    ] = None,
    embeddings: Annotated[
        list[Path],
        typer.Option(
            help="Parquet of volume_uid and embedding in place of --encoder. May be given "
            "repeatedly."
        ),
    ] = [],  # noqa: B006
) -> None:
    """Find patients and scans that are in A and in B; exit code 1 where there are any.

    Exact: by patient, series, source object, file and voxels. Near: volumes of two patients that
    look more alike than two patients do, with pictures of both in leaks.html.
    """
    from medssl.cli.terminal import TerminalProgress
    from medssl.config import parse_config
    from medssl.errors import JudgedAndFailed
    from medssl.leaks.config import LeaksConfig

    values = {"a": a, "b": b, "stores": store, "encoder": encoder, "embeddings": embeddings}
    config = parse_config(LeaksConfig, values, source="medssl leaks search")
    from medssl.leaks.search import search as run

    result = run(config, out, TerminalProgress())
    for line in result.lines():
        print(line, flush=True)
    if result.leaks:
        raise JudgedAndFailed("A and B share patients or scans: see the lines above")


@app.command("rule")
def rule(
    folder: Annotated[Path, typer.Argument(help="Folder of a search.", metavar="DIR")],
    pair: Annotated[str, typer.Argument(help="Name of a pair in leaks.html, or how it begins.")],
    ruling: Annotated[
        Literal["same", "different"],
        typer.Argument(
            help="same: one scan, or scans of one patient. different: of two patients.",
            metavar="same|different",
        ),
    ],
    by: Annotated[str, typer.Option(help="Who rules. The name is kept with the ruling.")],
) -> None:
    """Record what a person says of a pair; a later ruling on the same pair replaces it."""
    from medssl.leaks.rule import rule as record
    from medssl.leaks.rulings import RULINGS

    recorded = record(folder, pair, ruling, by)
    print(f"pair {recorded.pair}: {recorded.ruling}, by {recorded.by}")
    print(f"rulings: {folder / RULINGS}")
