"""The UIDs that the bytes of a file still hold whose header cannot be parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from medssl.archive.cases import series_tag
from medssl.archive.identity import Key

_SEARCHED_BYTES = 1 << 16
_UID = re.compile(rb"[0-9][0-9.]{0,63}")
_UID_BYTES = [bytes([byte]) for byte in b"0123456789."]
_SERIES = (0x0020, 0x000E)
_STUDY = (0x0020, 0x000D)
_INSTANCE = (0x0008, 0x0018)


def tags_in_bytes(key: Key, path: Path) -> str:
    """Keyed hashes of the series and the SOP instance that a damaged file's bytes name, or ""."""
    try:
        with path.open("rb") as file:
            head = file.read(_SEARCHED_BYTES)
    except OSError:
        return ""
    series = _own_series(head)
    if not series:
        return ""
    instance = next(iter(_uids(head, _INSTANCE)), ("", 0, 0))[0]
    hashed = key.hmac("instance", instance) if instance else ""
    return f"{series_tag(key, series)} {hashed}".rstrip()


def _own_series(head: bytes) -> str:
    """The SeriesInstanceUID of the data set itself: the one right after its StudyInstanceUID.

    A referenced series carries the same tag, but without a study before it.
    """
    found = list(_uids(head, _SERIES))
    ends = {end for *_, end in _uids(head, _STUDY)}
    own = [uid for uid, start, _ in found if start in ends]
    return (own or [uid for uid, *_ in found] or [""])[0]


def _uids(head: bytes, tag: tuple[int, int]) -> Iterable[tuple[str, int, int]]:
    """(UID, where its element starts, where it ends), in explicit and implicit encodings."""
    for order in ("little", "big"):
        mark = b"".join(part.to_bytes(2, order) for part in tag)
        at = head.find(mark)
        while at >= 0:
            explicit = head[at + 4 : at + 6] == b"UI"
            size = head[at + 6 : at + 8] if explicit else head[at + 4 : at + 8]
            length = int.from_bytes(size, order)
            end = at + 8 + length
            value = head[at + 8 : end].rstrip(b"\0 ") if length <= 64 else b""
            cut = len(head) < end or head[end : end + 1] in _UID_BYTES
            if _UID.fullmatch(value) and not cut:
                yield value.decode("ascii"), at, end
            at = head.find(mark, at + 1)
