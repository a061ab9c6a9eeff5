"""medssl quickstart"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OUT = Annotated[Path, typer.Option("--out", help="Folder for everything; the same one resumes.")]


def quickstart(out: OUT = Path("quickstart")) -> None:
    """The whole way on a synthetic archive, in minutes, on a laptop."""
    import runpy

    from medssl.bundled import bundled

    script = runpy.run_path(str(bundled("pipelines/quickstart.py")))
    script["main"](out)
