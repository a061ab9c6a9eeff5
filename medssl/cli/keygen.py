"""`medssl keygen`: the secret that turns identities into keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def keygen(
    file: Annotated[Path, typer.Argument(help="File to write; one that exists is kept.")],
) -> None:
    """Make the secret key that turns patients' identities into keys."""
    from medssl.archive.identity import make_key_file

    key = make_key_file(file)
    print(
        f"Keep a copy of this file in a safe place and out of the project: without it no store "
        f"made under key {key.key_id} can grow."
    )
    print(f"key: {file}  next: medssl ingest ARCHIVE --out STORE --key-file {file}")
