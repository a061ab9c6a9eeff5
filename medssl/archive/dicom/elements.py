"""Values out of a data set, or None where they are absent, empty or not what their VR says.

Elements that are still bytes, of a text VR and plain ASCII (nearly all), are converted here; the
others by pydicom, which knows every VR and character set but takes ten times as long.
"""

from __future__ import annotations

import datetime
import math
import re
from functools import cache
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

Key = str | BaseTag | tuple[int, int]

_TEXT = frozenset(
    ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR",
     "UT"]
)  # fmt: skip
_BINARY = {"US": (2, False), "UL": (4, False), "SS": (2, True), "SL": (4, True)}

_EPOCH = datetime.date(1900, 1, 1)
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(\.\d{1,6})?")


@cache
def tag_of(key: Key) -> BaseTag:
    """The tag, always the same object: to compare two tags pydicom needs a microsecond."""
    return Tag(key)


def raw(ds: Dataset, key: Key) -> Any:
    """The value of an element, or None; a value that cannot be parsed counts as absent."""
    try:
        tag = tag_of(key)
        return ds[tag].value if tag in ds else None
    except Exception:  # pydicom raises many kinds for a value that its VR does not allow
        return None


def _item(ds: Dataset, key: Key) -> Any:
    """An element as it is kept, often still bytes; `get_item` takes longer than all else here."""
    return ds._dict.get(tag_of(key))


def _plain(ds: Dataset, key: Key) -> str | None:
    """The text of an element that is still bytes and plain ASCII; empty where it is absent."""
    item = _item(ds, key)
    if item is None:
        return ""
    if type(item) is not RawDataElement or item.VR not in _TEXT or item.value is None:
        return None
    value: bytes = item.value
    if not value.isascii() or b"\x1b" in value:  # another character set, or an escape to one
        return None
    return value.decode("ascii").strip(" \0")


def text(ds: Dataset, key: Key) -> str:
    """A string value without surrounding blanks; empty where absent."""
    plain = _plain(ds, key)
    if plain is not None:
        return plain
    value = raw(ds, key)
    return "" if value is None else str(value).strip(" \0")


def tokens(ds: Dataset, key: Key) -> tuple[str, ...]:
    """A multi-valued code string in capitals, such as ImageType."""
    plain = _plain(ds, key)
    if plain is not None:
        return tuple(part.strip() for part in plain.upper().split("\\")) if plain else ()
    value = raw(ds, key)
    if value is None or value == "":
        return ()
    try:
        parts = [value] if isinstance(value, str) else list(value)
    except TypeError:  # one number, where a damaged VR says so
        return ()
    return tuple(str(part).strip().upper() for part in parts)


def numbers(ds: Dataset, key: Key) -> tuple[float, ...]:
    """All values of a numeric element; empty where one of them is not a finite number."""
    value: Any = _plain(ds, key)
    if value is not None:
        value = value.split("\\") if value else ()
    else:
        whole = _integer(ds, key)
        value = raw(ds, key) if whole is None else (whole,)
    if value is None or value == "":
        return ()
    if isinstance(value, str | bytes | int | float):
        value = [value]
    try:
        found = tuple(float(part) for part in value)
    except (TypeError, ValueError):
        return ()
    return found if all(math.isfinite(x) for x in found) else ()


def _integer(ds: Dataset, key: Key) -> int | None:
    """The one number of a little-endian integer element that is still bytes."""
    item = _item(ds, key)
    if type(item) is not RawDataElement or not item.is_little_endian or not item.value:
        return None
    size, signed = _BINARY.get(item.VR or "", (0, False))
    if len(item.value) != size:
        return None
    return int.from_bytes(item.value, "little", signed=signed)


def number(ds: Dataset, key: Key) -> float | None:
    """The first value of a numeric element."""
    found = numbers(ds, key)
    return found[0] if found else None


def number_or_nan(ds: Dataset, key: Key) -> float | None:
    """The value of a numeric element of one value; NaN where it is no finite number, or several."""
    plain = _plain(ds, key)
    if plain is None:
        try:
            empty = str(ds[tag_of(key)].value).strip() in ("", "None")
        except Exception:  # pydicom raises many kinds for a value that its VR does not allow
            empty = False
    else:
        empty = not plain
    if empty:
        return None
    found = numbers(ds, key)
    return found[0] if len(found) == 1 else math.nan


def integer(ds: Dataset, key: Key) -> int | None:
    value = number(ds, key)
    return int(value) if value is not None and value == int(value) else None


def items(ds: Dataset, key: Key) -> list[Dataset]:
    """The items of a sequence; none where it is absent, or no sequence by its VR."""
    value = raw(ds, key)
    return list(value) if isinstance(value, Sequence) else []


def is_no_sequence(ds: Dataset | None, key: Key) -> bool:
    """Whether a sequence is there that cannot be read as one: what it says is not known."""
    if ds is None or tag_of(key) not in ds:
        return False
    value = raw(ds, key)
    if value is None:  # empty, or of a VR that does not exist
        try:
            return bool(getattr(ds.get_item(tag_of(key)), "value", None))
        except Exception:  # pydicom raises many kinds for a damaged element
            return True
    return not isinstance(value, Sequence) and value not in ("", b"")


def first_item(ds: Dataset | None, key: Key) -> Dataset | None:
    """The first item of a sequence, or None."""
    found = items(ds, key) if ds is not None else []
    return found[0] if found else None


def seconds(date: str, time: str) -> float | None:
    """DA and TM as seconds since 1900, or None where either is not a date or a time."""
    match, day = _TIME.match(time.strip()), calendar_day(date)
    if match is None or day is None:
        return None
    hours, minutes, secs, fraction = match.groups()
    of_day = int(hours) * 3600 + int(minutes or 0) * 60 + int(secs or 0) + float(fraction or 0)
    return (day - _EPOCH).days * 86400 + of_day


def calendar_day(value: str) -> datetime.date | None:
    """A DA value, also as ACR-NEMA wrote it with points; None where it is no date."""
    digits = value.strip().replace(".", "")[:8]
    try:
        return datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def study_date(ds: Dataset) -> str:
    """The day of the study, else of the series or the acquisition, as DA; empty where none is."""
    for key in ("StudyDate", "SeriesDate", "AcquisitionDate"):
        day = calendar_day(text(ds, key))
        if day is not None:
            return f"{day:%Y%m%d}" if day.year >= 1000 else ""
    return ""


def moment(ds: Dataset, key: Key) -> float | None:
    """A DT value as seconds since 1900; its offset from UTC is left out."""
    value = text(ds, key)
    return seconds(value[:8], value[8:]) if len(value) >= 10 else None
