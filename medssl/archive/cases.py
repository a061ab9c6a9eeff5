"""Cases: what files cannot say, and which row of the cases table speaks of which scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from medssl.archive.find import stem_of
from medssl.archive.identity import Key


@dataclass(frozen=True)
class Case:
    """What the table says of one image; empty text and NaN where it says nothing."""

    patient: str = ""
    group_quality: str = ""
    site: str = ""
    modality: str = ""
    units: str = ""
    contrast: str = ""
    body_part: str = ""
    sex: str = ""
    age: float = float("nan")
    split: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    def over(self, other: Case) -> Case:
        """This case, with what it leaves open taken from another."""
        mine = {k: v for k, v in asdict(self).items() if v and v == v and k != "labels"}
        labels = tuple(sorted({**dict(other.labels), **dict(self.labels)}.items()))
        return replace(other, **mine, labels=labels)


@dataclass
class Cases:
    """The whole table, and which of its rows found something.

    Made by `medssl.archive.cases_table.read_cases`.
    """

    rows: list[Case] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)  # line in the file, the header being 1
    by_name: dict[str, list[int]] = field(default_factory=dict)
    by_pattern: list[tuple[str, int]] = field(default_factory=list)
    by_series: dict[str, list[int]] = field(default_factory=dict)
    by_patient: dict[str, list[int]] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    ambiguous: set[int] = field(default_factory=set)
    _counts: Counter[str] = field(default_factory=Counter)  # of images, by the names of rows

    def count_names(self, relatives: Iterable[str]) -> None:
        """To be called once with every image of the archive, before `for_image`.

        A row's plain name that fits several of them is ambiguous.

        Args:
            relatives: archive-relative paths.
        """
        self._counts = Counter(
            name
            for relative in (relatives if self.by_name else ())
            for name in _names_of(relative)
            if name in self.by_name
        )

    def for_image(self, relative: str, subject: str) -> Case | None:
        """The case of a NIfTI, or none.

        Args:
            relative: archive-relative path, one of those counted.
            subject: of BIDS ("sub-01"), or empty.
        """
        own: list[int] = []
        for name in _names_of(relative) if self.by_name else ():
            rows = self.by_name.get(name, [])
            if rows and self._counts[name] > 1:
                self.ambiguous.update(rows)
            else:
                own += rows
        own += self._patterned(relative)
        own += self.by_patient.get(subject, []) if subject else []
        return self._merge(own)

    def for_series(self, series_tag: str, patient_tag: str, relative: str) -> Case | None:
        """The case of a DICOM series, by keyed hashes of its UID and PatientID (see `tagged`)."""
        own = [*self.by_series.get(series_tag, []), *self._patterned(relative)]
        return self._merge([*own, *self.by_patient.get(patient_tag, [])])

    def names(self, relative: str) -> bool:
        """Whether a row speaks of this file by its name or path."""
        return bool(self.by_name) and any(name in self.by_name for name in _names_of(relative))

    def tagged(self, key: Key) -> Cases:
        """Rows found by series and patient are then also found by the hashes of these."""
        for series in list(self.by_series):
            self.by_series[series_tag(key, series)] = self.by_series[series]
        for patient in list(self.by_patient):
            self.by_patient[patient_tag(key, patient)] = self.by_patient[patient]
        return self

    def unmatched(self) -> list[int]:
        """Line numbers of rows that found nothing."""
        out = [n for at, n in enumerate(self.numbers) if at not in self.used | self.ambiguous]
        return sorted(out)

    def ambiguous_lines(self) -> list[int]:
        """Line numbers of rows whose plain name fits several files."""
        return sorted(self.numbers[at] for at in self.ambiguous)

    def _patterned(self, relative: str) -> list[int]:
        names = [relative, PurePosixPath(relative).name]
        return [
            at for pattern, at in self.by_pattern if any(fnmatchcase(n, pattern) for n in names)
        ]

    def _merge(self, positions: list[int]) -> Case | None:
        self.used.update(positions)
        case: Case | None = None
        for at in dict.fromkeys(positions):
            case = self.rows[at] if case is None else case.over(self.rows[at])
        return case


def series_tag(key: Key, series_uid: str) -> str:
    return key.hmac("cases series", series_uid)


def patient_tag(key: Key, patient_id: str) -> str:
    return key.hmac("cases patient", patient_id)


def _names_of(relative: str) -> list[str]:
    """The texts by which a plain `image` or `file` may call a file, without doubles."""
    path = PurePosixPath(relative)
    stem = stem_of(path.name)
    return list(dict.fromkeys([relative, str(path.parent / stem), path.name, stem]))
