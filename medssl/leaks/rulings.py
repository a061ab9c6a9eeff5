"""What people ruled about pairs of scans that look alike: `rulings.jsonl`, a chain of entries.

A ruling is about two sets of voxels, named by their hashes, so that it stands whenever the same two
scans meet again: in another search, after another ingest, under another key. The file is a ledger
(`medssl.efficiency.ledger`): each line vouches for those before it. Nothing is taken back; a later
ruling on the same pair replaces the one before and says so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from medssl.efficiency.ledger import Entry, Ledger, read_ledger, verify_chain
from medssl.errors import StudyError

RULINGS = "rulings.jsonl"
_EVENT = "ruled"
_DIGITS = 12

Verdict = Literal["same", "different"]


@dataclass(frozen=True)
class Ruling:
    """The last word on a pair.

    Attributes:
        pair: see `pair_id`.
        pixels: `pixel_sha256` of the two scans, in ascending order.
        ruling: "same": one scan, or scans of one patient; "different": of two patients.
        by: who ruled, as that person gave it.
        utc: when.
        seq: its line in the file.
    """

    pair: str
    pixels: tuple[str, str]
    ruling: Verdict
    by: str
    utc: str
    seq: int


def pair_id(pixels_a: str, pixels_b: str) -> str:
    """Twelve hexadecimal digits that name a pair of scans, whichever comes first.

    Args:
        pixels_a, pixels_b: `pixel_sha256` of the two.
    """
    return hashlib.sha256(" ".join(sorted((pixels_a, pixels_b))).encode()).hexdigest()[:_DIGITS]


def read_rulings(path: Path) -> dict[str, Ruling]:
    """The last ruling on each pair, by `pair_id`; none where there is no file.

    Raises:
        StudyError: a line was changed, taken out or added, or is no ruling.
    """
    if not path.exists():
        return {}
    entries = read_ledger(path)
    problems = verify_chain(entries)
    if problems:
        raise StudyError(
            f"{path}: {problems[0]}; restore the file from a copy, or rule on its pairs again in "
            "another folder"
        )
    rulings = [_ruling(entry, path) for entry in entries]
    return {ruling.pair: ruling for ruling in rulings}


def add_ruling(
    path: Path, pixels: tuple[str, str], ruling: Verdict, by: str, kind: str, distance: float
) -> Ruling:
    """Write one ruling through to the disk.

    Args:
        pixels: `pixel_sha256` of the two scans.
        by: who rules.
        kind, distance: how the pair was found.

    Raises:
        StudyError: somebody else is writing, the file is damaged, or nobody is named.
    """
    if not by.strip():
        raise StudyError("a ruling needs a name: --by NAME")
    earlier = read_rulings(path)
    pair = pair_id(*pixels)
    replaced = earlier[pair].seq if pair in earlier else 0
    with Ledger(path) as ledger:
        entry = ledger.append(
            _EVENT,
            pair=pair,
            ruling=ruling,
            by=by.strip(),
            pixels=sorted(pixels),
            kind=kind,
            distance=round(distance, 6),
            replaces=replaced,
        )
    return _ruling(entry, path)


def _ruling(entry: Entry, path: Path) -> Ruling:
    facts = entry.facts
    pixels = facts.get("pixels")
    whole = (
        entry.event == _EVENT
        and facts.get("ruling") in get_args(Verdict)
        and isinstance(facts.get("by"), str)
        and isinstance(pixels, list)
        and len(pixels) == 2
        and all(isinstance(one, str) for one in pixels)
        and facts.get("pair") == pair_id(*pixels)
    )
    if not whole:
        raise StudyError(f"{path}, line {entry.seq}: not a ruling")
    verdict = cast(Verdict, facts["ruling"])
    return Ruling(
        str(facts["pair"]),
        (str(facts["pixels"][0]), str(facts["pixels"][1])),
        verdict,
        str(facts["by"]),
        entry.utc,
        entry.seq,
    )
