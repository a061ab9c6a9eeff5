"""`medssl sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sample(
    out: Annotated[Path, typer.Argument(help="Folder to write: new, or empty.")],
    patients: Annotated[int, typer.Option(help="Number of patients, six at least.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes other patients.")] = 0,
    hazards: Annotated[
        bool,
        typer.Option(
            "--hazards",
            help="Instead of a hospital: every known damage, each in a folder of its own, and a "
            "table of how it must end.",
        ),
    ] = False,
) -> None:
    """Write a synthetic hospital archive with known labels: CT, MR and the usual damage."""
    from medssl.cli.terminal import TerminalProgress

    if hazards:
        from medssl.sample.hazards.write import write_hazards

        written = write_hazards(out, progress=TerminalProgress())
        print(f"{written.hazards} hazards: {written.archive}")
        print(f"how each must end: {written.table}")
        print(f"next: medssl ingest {written.archive} --out STORE; see {out / 'README.txt'}")
        return
    from medssl.sample.sample import write_sample

    result = write_sample(out, patients=patients, seed=seed, progress=TerminalProgress())
    print(f"archive of {patients} patients: {result.archive}")
    print(f"how each file must end:  {result.expected}")
    print(f"next: medssl ingest {result.archive} --cases {result.cases} --out STORE")
