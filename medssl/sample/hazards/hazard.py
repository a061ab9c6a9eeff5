"""What a hazard is: a folder to write, and the ends that its series and files must come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from medssl.archive.reasons import Reason
from medssl.sample.hazards.place import Place


@dataclass(frozen=True, order=True)
class End:
    """How `number` volumes, masks, series or files end.

    Attributes:
        outcome: EXACT or CORRECTED of a volume, the same after "mask " of a mask, else the group
            of the reason in capitals: QUARANTINED, FAILED, NOT AN IMAGE, UNPAIRED.
        reasons: the codes, joined by "+"; empty where exact.
        notes: codes of the group "noted", joined by "+".
    """

    outcome: str
    reasons: str = ""
    notes: str = ""
    number: int = 1

    @property
    def is_volume(self) -> bool:
        return self.outcome in ("EXACT", "CORRECTED")

    @property
    def is_mask(self) -> bool:
        return self.outcome.startswith("mask ")

    def __str__(self) -> str:
        codes = f" ({self.reasons})" if self.reasons else ""
        notes = f" noting {self.notes}" if self.notes else ""
        return f"{self.number} {self.outcome}{codes}{notes}"


def exact(number: int = 1, *, notes: Iterable[Reason] = ()) -> End:
    """Volumes that are taken as they are."""
    return End("EXACT", notes=joined(notes), number=number)


def corrected(*reasons: Reason, number: int = 1) -> End:
    """Volumes that are taken with corrections."""
    return End("CORRECTED", joined(reasons), number=number)


def mask(*reasons: Reason, number: int = 1) -> End:
    """Masks of volumes."""
    return End("mask CORRECTED" if reasons else "mask EXACT", joined(reasons), number=number)


def refused(reason: Reason, number: int = 1) -> End:
    """Files, series or labels that are not taken."""
    return End(reason.group.upper(), reason.value, number=number)


def joined(reasons: Iterable[Reason]) -> str:
    """Codes as the store writes them, but in the order of their names."""
    return "+".join(sorted(reason.value for reason in reasons))


def told(ends: Iterable[End]) -> str:
    """All ends of a folder in one line, equal ones counted: what is compared."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for end in ends:
        counts[end.outcome, end.reasons, end.notes] += end.number
    return "; ".join(str(End(*key, number)) for key, number in sorted(counts.items()))


@dataclass(frozen=True)
class Hazard:
    """One row of a table in the specification of the archive, made real.

    Attributes:
        name: of its folder.
        what: what was done, in plain words.
        write: writes the files, and the true voxels of what must be taken.
        ends: of everything in the folder.
        ignored: files of which no scan was expected: they appear in no table of the store.
        under: settings of `medssl ingest --config` as YAML, under which the ends are others.
        late: ends after the files of `late/<name>` have been copied into the folder and the same
            command has run again.
    """

    name: str
    what: str
    write: Callable[[Place], None]
    ends: tuple[End, ...]
    ignored: int = 0
    under: tuple[tuple[str, tuple[End, ...]], ...] = ()
    late: tuple[End, ...] = ()
