"""`medssl keygen`: the secret that turns identities into keys, and another in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def keygen(
    file: Annotated[Path, typer.Argument(help="File to write; one that exists is kept.")],
    rotate: Annotated[
        Path | None, typer.Option(help="Store that gets the new key in place of its own.")
    ] = None,
    linkage: Annotated[
        Path | None, typer.Option(help="Linkage file of that store; it is written anew.")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="The store's old key; else $MEDSSL_KEY_FILE or ~/.config/medssl/key. It is kept."
        ),
    ] = None,
    forget_withdrawn: Annotated[
        bool,
        typer.Option(
            "--forget-withdrawn",
            help="Go on where the linkage file lacks withdrawn patients; if their scans are still "
            "in the archive, they would be taken again.",
        ),
    ] = False,
) -> None:
    """Make the secret key that turns patients' identities into keys; with --rotate, a new one."""
    from medssl.errors import ConfigError

    if rotate is None:
        for value, name in ((linkage, "linkage"), (key_file, "key-file")):
            if value is not None:
                raise ConfigError(f"--{name} has no effect without --rotate STORE")
        _make(file)
        return
    if linkage is None:
        raise ConfigError(
            "--rotate needs --linkage FILE: only the linkage file leads from the old keys to new "
            "ones; without one, ingest the archive into a new store under a new key"
        )
    from medssl.archive.rotate import RotateConfig
    from medssl.archive.rotate import rotate as run
    from medssl.cli.terminal import TerminalProgress

    config = RotateConfig(rotate, linkage, file, key_file, forget_withdrawn)
    for line in run(config, TerminalProgress()).lines(config):
        print(line)
    print(f"key: {file}  next: keep a copy in a safe place, and destroy the old key")


def _make(file: Path) -> None:
    from medssl.archive.identity import make_key_file

    key = make_key_file(file)
    print(
        f"Keep a copy of this file in a safe place and out of the project: without it no store "
        f"made under key {key.key_id} can grow."
    )
    print(f"key: {file}  next: medssl ingest ARCHIVE --out STORE --key-file {file}")
