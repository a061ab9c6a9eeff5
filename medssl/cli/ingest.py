"""`medssl ingest`: an archive of DICOM and NIfTI into a de-identified store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def ingest(
    archive: Annotated[Path, typer.Argument(help="Folder of scans, unsorted; or one file.")],
    out: Annotated[Path, typer.Option(help="Store to make, or to grow.")],
    cases: Annotated[
        Path | None, typer.Option(help="CSV that says what files cannot: patient, classes, ...")
    ] = None,
    linkage: Annotated[
        Path | None, typer.Option(help="File that maps keys back to patients. Guard it.")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="Secret key; else $MEDSSL_KEY_FILE or ~/.config/medssl/key."),
    ] = None,
    unpack: Annotated[
        Path | None,
        typer.Option(
            help="Scratch folder to open zip, tar and gzip files in. It identifies patients: "
            "delete it after the run, or keep it to save unpacking again."
        ),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="CT, MR, PT or OT: of NIfTI files, which do not say.")
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="Short name of the site; sites never share a patient.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Reading processes.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler, tls://host:8786: its workers read.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where anything was rejected.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="YAML file with further settings.")] = None,
) -> None:
    """Take an archive of DICOM and NIfTI into a store, or what is new of it."""
    from medssl.archive.pool import warm_up

    warm_up()
    from medssl.archive.config import IngestConfig
    from medssl.archive.ingest import ingest as run
    from medssl.cli.terminal import TerminalProgress
    from medssl.config import load_config, parse_config
    from medssl.errors import JudgedAndFailed

    stated = {
        "archive": archive,
        "store": out,
        "cases": cases,
        "linkage": linkage,
        "key_file": key_file,
        "unpack": unpack,
        "modality": modality,
        "site": site,
        "workers": workers,
        "scheduler": scheduler,
    }
    values = {name: value for name, value in stated.items() if value is not None}
    if config is None:
        settings = parse_config(IngestConfig, values, source="medssl ingest")
    else:
        texts = {n: str(v) if isinstance(v, Path) else v for n, v in values.items()}
        overrides = [f"{name}={json.dumps(value)}" for name, value in texts.items()]
        settings = load_config(IngestConfig, config, overrides)
    result = run(settings, TerminalProgress())
    for line in result.lines():
        print(line)
    if strict and result.num_rejected:
        raise JudgedAndFailed(
            f"{result.num_rejected} files, series or labels were rejected (--strict); their "
            f"reasons are in {out / 'rejected'}"
        )
