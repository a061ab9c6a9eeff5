"""Self-contained HTML pages: one file, no script, nothing fetched, opens offline."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medssl import __version__
from medssl.store.writer import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Part = dict[str, Any]

_UNBROKEN = 28  # characters that are not broken over two lines of a cell
_HASH = re.compile(r"[0-9a-f]{12}|[0-9a-f]{32,64}")


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; parts are made by the functions of this module."""

    heading: str
    parts: Sequence[Part]


def subheading(line: str) -> Part:
    """A heading inside a section."""
    return {"kind": "subheading", "text": line}


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


def shaded(value: Any, share: float) -> dict[str, Any]:
    """A cell of a table whose ground is the darker the larger `share` (0 to 1) is."""
    return {**_cell(value), "shade": round(100 * min(max(share, 0.0), 1.0))}


def details(summary: str, parts: Sequence[Part]) -> Part:
    """Parts behind a line that opens them."""
    return {"kind": "details", "text": summary, "parts": parts}


def drawing(svg: str, caption: str) -> Part:
    """An inline SVG; `svg` is taken as markup, so its texts must be escaped already."""
    return {"kind": "drawing", "text": caption, "svg": svg}


def charts(drawings: Sequence[Part]) -> Part:
    """Drawings side by side, smaller."""
    return {"kind": "charts", "parts": drawings}


def tiles(numbers: Iterable[tuple[str, str]]) -> Part:
    """Large numbers with a word below each."""
    return {"kind": "tiles", "tiles": list(numbers)}


def points(lines: Iterable[tuple[str, str]]) -> Part:
    """A list of (sentence, heading that it leads to, or empty)."""
    return {"kind": "points", "points": [(line, anchor(to) if to else "") for line, to in lines]}


def terms(entries: Iterable[tuple[str, str, str]]) -> Part:
    """Codes explained: (code, how often, what it means)."""
    return {"kind": "terms", "terms": list(entries)}


def gallery(pictures: Iterable[tuple[str, str, Sequence[str]]]) -> Part:
    """Small pictures side by side: (JPEG in base64 or empty, what it shows, lines below it)."""
    return {"kind": "gallery", "pictures": list(pictures)}


def side_by_side(pictures: Iterable[tuple[str, str, Sequence[str]]]) -> Part:
    """Two pictures to compare, each half of the page wide; as `gallery`."""
    return {"kind": "gallery", "pictures": list(pictures), "two": True}


def anchor(heading: str) -> str:
    """The id of a section, made of its heading."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def write_page(
    path: Path,
    title: str,
    lead: str,
    sections: Sequence[Section],
    meta: Mapping[str, str] | None = None,
) -> Path:
    """Write the page, replacing it whole; every text in it is escaped.

    Args:
        meta: names and contents for its head, so that a program can read them.
    """
    from jinja2 import Environment, FileSystemLoader

    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("page.html.j2").render(
        title=title,
        lead=lead,
        sections=sections,
        meta=meta or {},
        anchor=anchor,
        footer=f"Written by medssl {__version__}.",
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
    if isinstance(value, dict):
        return value
    if isinstance(value, bool) or value is None:
        return {"text": {True: "yes", False: "no", None: "–"}[value], "number": False}
    if isinstance(value, int):
        return {"text": f"{value:,}", "number": True}
    if isinstance(value, float):
        return {"text": "–" if math.isnan(value) else f"{value:.4g}", "number": True}
    word = str(value)
    kept = len(word) <= _UNBROKEN
    return {"text": word, "number": False, "hash": bool(_HASH.fullmatch(word)), "short": kept}
