"""`medssl show`: what the network will see."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    store: Annotated[Path, typer.Argument(help="Store to take scans from.")],
    policy: Annotated[
        str | None, typer.Option(help="ct, mr, pt or ot; else each that the store has scans for.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="PNG to write. It shows patients: keep it where the store is kept."),
    ] = Path("contact-sheet.png"),
    volume: Annotated[
        str | None,
        typer.Option(help="volume_uid, or how it begins; else two scans for each policy."),
    ] = None,
    views: Annotated[int, typer.Option(min=1, max=24, help="Augmented views of each scan.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other views.")] = 0,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Pretraining's YAML file; else the example configs/pretrain/simclr.yaml."
        ),
    ] = None,
    set_: Annotated[
        list[str],
        typer.Option("--set", help="Override a key: --set augment.spatial.rotate_deg=45."),
    ] = [],  # noqa: B006
) -> None:
    """Draw scans of a store as pretraining augments them, with what was drawn under each view."""
    from medssl.cli.terminal import TerminalProgress
    from medssl.report.show import ShowConfig
    from medssl.report.show import show as run

    settings = ShowConfig(store, out, policy, volume, views, seed, config, tuple(set_))
    for line in run(settings, TerminalProgress()).lines():
        print(line)
