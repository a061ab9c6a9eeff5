"""`medssl withdraw`: take a patient out of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def withdraw(
    store: Annotated[Path, typer.Argument(help="Store to take the patient out of.")],
    patient: Annotated[
        str, typer.Argument(help="PatientID, BIDS subject, or the patient_key of the manifest.")
    ],
    key_file: Annotated[
        Path | None,
        typer.Option(help="Secret key; else $MEDSSL_KEY_FILE or ~/.config/medssl/key."),
    ] = None,
    site: Annotated[str, typer.Option(help="Site that the scans were ingested under.")] = "",
    issuer: Annotated[
        str, typer.Option(help="Issuer of the PatientID, where the store lets it count.")
    ] = "",
    linkage: Annotated[
        Path | None, typer.Option(help="Linkage file to take the patient's rows out of.")
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(help="Folder with runs, searched below; may be given again; else this one."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="CSV of the runs that saw the scans; else withdrawn-KEY.csv here."),
    ] = None,
) -> None:
    """Erase a patient from a store, and list the runs and checkpoints that saw the scans."""
    from medssl.archive.withdraw import WithdrawConfig
    from medssl.archive.withdraw import withdraw as run
    from medssl.cli.terminal import TerminalProgress

    config = WithdrawConfig(
        store, patient, key_file, site, issuer, linkage, tuple(runs or [Path()]), out
    )
    for line in run(config, TerminalProgress()).lines():
        print(line)
