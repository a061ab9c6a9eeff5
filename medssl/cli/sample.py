"""`medssl sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sample(
    out: Annotated[Path, typer.Argument(help="Folder to write: new, or empty.")],
    patients: Annotated[int, typer.Option(help="Number of patients, six at least.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes other patients.")] = 0,
) -> None:
    """Write a synthetic hospital archive with known labels: CT, MR and the usual damage."""
    from medssl.cli.terminal import TerminalProgress
    from medssl.sample.sample import write_sample

    result = write_sample(out, patients=patients, seed=seed, progress=TerminalProgress())
    print(f"archive of {patients} patients: {result.archive}")
    print(f"how each file must end:  {result.expected}")
    print(f"next: medssl ingest {result.archive} --cases {result.cases} --out STORE")
