"""The cases table, read and checked: a row for a file, a pattern, a series or a patient.

Columns image or file (name, path or pattern), series (SeriesInstanceUID) and patient_id (PatientID;
or participant_id, the BIDS subject) say what a row is for; patient, group_quality, site, modality,
units, contrast, body_part, sex, age and split state facts; every other column is a class label.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pandas as pd

from medssl.archive.cases import Case, Cases
from medssl.errors import ConfigError

SELECTORS = ("image", "file", "series", "patient_id")
BODY_PARTS = (  # the lists that DICOM headers are reduced to
    *("BRAIN", "HEAD", "NECK", "WHOLEBODY", "CHEST", "HEART", "BREAST", "LIVER", "KIDNEY"),
    *("PANCREAS", "ABDOMEN", "PROSTATE", "PELVIS", "SPINE"),
    *("UPPER_EXTREMITY", "LOWER_EXTREMITY", "EXTREMITY", "OTHER"),
)
CONTRASTS = (
    *("T1", "T2", "T2STAR", "PD", "FLAIR", "STIR", "DWI", "ADC", "SWI", "BOLD", "ASL"),
    *("PERFUSION", "ANGIO", "FIELDMAP", "CONTRAST", "OTHER"),
)
_ALIASES = {"participant_id": "patient_id", "subject": "patient_id", "filename": "file"}
_SYNONYMS = {"MRI": "MR", "PET": "PT", "MALE": "M", "FEMALE": "F"}
_CHOICES: dict[str, tuple[str, ...]] = {
    "group_quality": ("patient", "inferred", "scan", "none"),
    "modality": ("CT", "MR", "PT", "OT"),
    "units": ("HU", "SUV", "BQML", "arbitrary"),
    "sex": ("F", "M", "O"),
    "split": ("train", "val", "test"),
    "contrast": CONTRASTS,
    "body_part": BODY_PARTS,
}
_FACTS = ("patient", "site", "age", *_CHOICES)
_SLUG = re.compile(r"[A-Za-z0-9_-]{1,32}")
_CLASS = re.compile(r"[A-Za-z0-9_.+-]{1,32}")
_DATE = re.compile(r"(19|20)\d\d[-/.]?[01]\d[-/.]?[0-3]\d|\d{1,2}[-/.]\d{1,2}[-/.](19|20)?\d\d")
_IDENTIFYING = re.compile(
    r"name|surname|mrn|ssn|birth|dob|date|address|phone|mail|accession|comment|note|remark|report"
    r"|uid|(^|_)id$",
)
_MAX_CLASSES = 100


def read_cases(path: Path) -> Cases:
    """Read and check the table.

    Raises:
        ConfigError: every problem at once, each with its column and line numbers, never a value.
    """
    if not path.is_file():
        raise ConfigError(f"no cases file at {path}")
    try:
        table = pd.read_csv(
            path,
            sep="\t" if path.suffix.lower() == ".tsv" else ",",
            header=None,  # pandas would rename a column that is there twice
            skip_blank_lines=False,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise ConfigError(f"{path}: not a table in UTF-8 with one header line") from error
    table = table.map(lambda text: "" if text.strip() in ("n/a", "N/A") else text.strip())
    table.index = pd.RangeIndex(1, len(table) + 1)  # line numbers, for messages
    table.columns = pd.Index([_column(str(name)) for name in table.iloc[0]])
    table = table.iloc[1:]
    table = table[(table != "").any(axis=1)].copy()
    problems = _problems(table)
    if problems:
        raise ConfigError(f"{path}: " + "; ".join(problems))
    return _index(table)


def _column(name: str) -> str:
    plain = name.strip()
    lower = plain.lower()
    known = (*SELECTORS, *_FACTS, *_ALIASES)
    return _ALIASES.get(lower, lower) if lower in known else plain


def _problems(table: pd.DataFrame) -> list[str]:
    out = []
    doubled = [str(n) for n, c in Counter(table.columns).items() if c > 1]
    if doubled:
        return [f"column {', '.join(doubled)} is there twice"]
    selectors = [name for name in SELECTORS if name in table.columns]
    if not selectors:
        return [f"no column says what a row is for; one of {', '.join(SELECTORS)} is needed"]
    empty = (table[selectors] == "").all(axis=1)
    if empty.any():
        out.append(f"{_lines(empty)}: empty in {', '.join(selectors)}")
    for name, choices in _CHOICES.items():
        if name in table.columns:
            table[name] = table[name].map(lambda text: _choice(text, choices))  # noqa: B023
            wrong = ~table[name].isin(["", *choices])
            if wrong.any():
                out.append(f"{_lines(wrong)}: {name} is none of {', '.join(choices)}")
    if "age" in table.columns:
        wrong = ~table["age"].str.fullmatch(r"|\d{1,3}(\.\d+)?")
        if wrong.any():
            out.append(f"{_lines(wrong)}: age is no number of years")
    if "site" in table.columns:
        wrong = ~table["site"].map(lambda text: not text or bool(_SLUG.fullmatch(text)))
        if wrong.any():
            out.append(f"{_lines(wrong)}: site is not 1 to 32 letters, digits, _ or -")
    out += [problem for name in _label_columns(table) for problem in _label_problems(table, name)]
    repeated = table.duplicated(selectors, keep=False) & ~empty
    differing = repeated & ~table.duplicated(keep=False)
    if differing.any():
        out.append(f"{_lines(differing)}: the same {' and '.join(selectors)} with other contents")
    return out


def _label_columns(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table.columns if name not in (*SELECTORS, *_FACTS)]


def _label_problems(table: pd.DataFrame, name: str) -> list[str]:
    """Class labels go into the store as they are, so a column that may identify is refused."""
    advice = "classes are short codes; take the column out of the file"
    if not _SLUG.fullmatch(name) or _IDENTIFYING.search(name.lower()):
        at = list(table.columns).index(name) + 1
        return [f"column {at} has a name that may hold identities or free text; {advice}"]
    values = table[name]
    wrong = values.map(lambda text: bool(text) and not _CLASS.fullmatch(text))
    dates = values.map(lambda text: bool(_DATE.fullmatch(text)))
    if (wrong | dates).any():
        return [f"{_lines(wrong | dates)}: column {name} holds free text or a date; {advice}"]
    if values.nunique() > _MAX_CLASSES:
        return [f"column {name} has more than {_MAX_CLASSES} classes; {advice}"]
    return []


def _choice(text: str, choices: tuple[str, ...]) -> str:
    upper = _SYNONYMS.get(text.upper(), text.upper())
    return next((choice for choice in choices if choice.upper() == upper), text)


def _lines(which: pd.Series[bool], most: int = 10) -> str:
    numbers = [int(line) for line in which.index[which.to_numpy(dtype=bool)]]
    shown = ", ".join(map(str, numbers[:most]))
    return f"line {shown}{f' and {len(numbers) - most} more' if len(numbers) > most else ''}"


def _index(table: pd.DataFrame) -> Cases:
    cases = Cases()
    names: dict[str, list[int]] = defaultdict(list)
    series: dict[str, list[int]] = defaultdict(list)
    patients: dict[str, list[int]] = defaultdict(list)
    labels = _label_columns(table)
    first = ~table.duplicated()
    records: list[dict[Any, str]] = table.to_dict("records")
    for line, record in zip(table.index, records, strict=True):
        if not first[line]:
            continue
        at = len(cases.rows)
        cases.rows.append(_case(record, labels))
        cases.numbers.append(int(line))
        selector = next(s for s in SELECTORS if record.get(s))
        value = str(record[selector])
        if selector in ("image", "file"):
            if re.search(r"[*?\[]", value):
                cases.by_pattern.append((value, at))
            else:
                names[value.removeprefix("./")].append(at)
        else:
            (series if selector == "series" else patients)[value].append(at)
    cases.by_name, cases.by_series, cases.by_patient = dict(names), dict(series), dict(patients)
    return cases


def _case(record: dict[Any, str], labels: list[str]) -> Case:
    known: dict[str, Any] = {
        name: record[name] for name in _FACTS if name in record and name != "age"
    }
    if known.get("patient") and not known.get("group_quality"):
        known["group_quality"] = "patient"
    age = float(record["age"]) if record.get("age") else float("nan")
    stated = tuple(sorted((name, record[name]) for name in labels if record[name]))
    return Case(**known, age=age, labels=stated)
