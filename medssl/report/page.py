"""Self-contained HTML pages: one file, no script, nothing fetched, opens offline."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medssl import __version__
from medssl.store.writer import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Part = dict[str, Any]

_HASH = re.compile(r"[0-9a-f]{32,64}")


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; parts are made by the functions of this module."""

    heading: str
    parts: Sequence[Part]


def text(line: str) -> Part:
    """A paragraph."""
    return {"kind": "text", "text": line}


def verdict(line: str, tone: Literal["good", "bad", "open"] = "open") -> Part:
    """The one sentence that a reader in a hurry should see; `tone` colours its edge."""
    return {"kind": "verdict", "text": line, "tone": tone}


def code(block: str) -> Part:
    """Preformatted lines."""
    return {"kind": "code", "text": block}


def figure(drawn: Figure | bytes, caption: str) -> Part:
    """A matplotlib figure, or the bytes of a PNG, embedded in the page."""
    png = drawn if isinstance(drawn, bytes) else figure_png(drawn)
    return {"kind": "figure", "text": caption, "png": base64.b64encode(png).decode()}


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Part:
    """A table; numbers are aligned to the right and shown with four digits."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [any(row[i]["number"] for row in cells) for i in range(len(columns))]
    return {"kind": "table", "columns": list(zip(columns, numeric, strict=True)), "rows": cells}


def write_page(path: Path, title: str, lead: str, sections: Sequence[Section]) -> Path:
    """Write the page, replacing it whole; every text in it is escaped."""
    from jinja2 import Environment, FileSystemLoader

    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("page.html.j2").render(
        title=title, lead=lead, sections=sections, footer=f"Written by medssl {__version__}."
    )
    write_atomically(path, page)
    return path


def figure_png(drawn: Figure) -> bytes:
    """A figure as PNG at 150 dots an inch; the figure is closed."""
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
    plt.close(drawn)
    return buffer.getvalue()


def _cell(value: Any) -> dict[str, Any]:
    if isinstance(value, bool) or value is None:
        return {"text": {True: "yes", False: "no", None: "–"}[value], "number": False}
    if isinstance(value, int):
        return {"text": f"{value:,}", "number": True}
    if isinstance(value, float):
        return {"text": "–" if math.isnan(value) else f"{value:.4g}", "number": True}
    return {"text": str(value), "number": False, "hash": bool(_HASH.fullmatch(str(value)))}
