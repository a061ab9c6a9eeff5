"""Who is labelled at which fraction in which draw.

A subset is a prefix of an order of patients that depends on the cases, the draw and nothing else:
nested, the same for every arm, and independent of file order and library versions. All functions
are pure; the auditor calls the same ones.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from fractions import Fraction

import pandas as pd

from medssl.efficiency.canonical import sha256_json
from medssl.errors import StudyError

VALIDATION_EVERY = 5
LEAST_FOR_VALIDATION = 5

SPLIT_COLUMNS = (
    "patient_key",
    "role",
    "draw",
    "rank",
    "patient_class",
    "class_rank",
    "val_flag",
)


def cases_sha256(cases: pd.DataFrame) -> str:
    """The hash that names a set of labelled cases, whatever the order of its rows."""
    columns = ["volume_uid", "patient_key", "pixel_sha256", "label"]
    return sha256_json(sorted(cases[columns].astype(str).values.tolist()))


def classes_of(label: str, kind: str) -> list[str]:
    """The classes of one case: its class, or the foreground values of its mask ("1,2")."""
    return label.split(",") if kind == "segmentation" else [label]


def patient_classes(cases: pd.DataFrame, kind: str) -> pd.Series[str]:
    """Each patient's class: the rarest, by number of cases, of those that he has.

    Args:
        cases: patient_key, label.
        kind: "classification" or "segmentation".
    """
    exploded = pd.DataFrame(
        [
            (patient, name)
            for patient, label in zip(cases["patient_key"], cases["label"], strict=True)
            for name in classes_of(label, kind)
        ],
        columns=["patient_key", "name"],
    )
    counts = exploded["name"].value_counts()
    rarity = {str(name): (int(count), str(name)) for name, count in counts.items()}
    by_patient = exploded.groupby("patient_key")["name"]
    return by_patient.agg(lambda names: min(names, key=lambda name: rarity[name])).sort_index()


def draw_splits(
    cases: pd.DataFrame, kind: str, draws: int, cases_hash: str | None = None
) -> pd.DataFrame:
    """The table splits.parquet: the sealed test patients, and the order of the others by draw.

    Args:
        cases: volume_uid, patient_key, pixel_sha256, label, role ("test" or "dev").
        cases_hash: `cases_sha256(cases)`, computed where it is not given.
    """
    cases_hash = cases_hash or cases_sha256(cases)
    test = patient_classes(cases[cases["role"] == "test"], kind)
    classes = patient_classes(cases[cases["role"] == "dev"], kind)
    rows: list[tuple[str, str, int, int, str, int, bool]] = []
    for draw in range(draws):
        for rank, (patient, class_rank) in enumerate(ordered_patients(classes, cases_hash, draw)):
            flag = class_rank % VALIDATION_EVERY == VALIDATION_EVERY - 1
            rows.append((patient, "dev", draw, rank, str(classes[patient]), class_rank, flag))
    rows += [(str(p), "test", -1, -1, str(name), -1, False) for p, name in test.items()]
    return pd.DataFrame(rows, columns=list(SPLIT_COLUMNS))


def ordered_patients(classes: pd.Series[str], cases_hash: str, draw: int) -> list[tuple[str, int]]:
    """Patients of one draw in their order, each with his place within his class.

    Within a class they stand in the order of SHA-256(cases | draw | patient_key).
    """
    queues: dict[str, list[str]] = {}
    for name in sorted(classes.unique()):
        members = [str(p) for p in classes.index[classes == name]]
        queues[name] = sorted(members, key=lambda p: _hash(cases_hash, draw, p))
    taken = dict.fromkeys(queues, 0)
    order = []
    for name in merge_by_largest_remainder({name: len(q) for name, q in queues.items()}):
        order.append((queues[name][taken[name]], taken[name]))
        taken[name] += 1
    return order


def merge_by_largest_remainder(sizes: Mapping[str, int]) -> list[str]:
    """Class names in a sequence whose every prefix is within one patient of proportional.

    Two classes: at each place the class with the larger remainder n * p_c - k_c. That rule alone
    can stray by more than one patient where there are four classes or more; Tijdeman's never does
    (The chairman assignment problem, Discrete Mathematics 32, 1980): of the classes whose remainder
    is at least 1 / (2m - 2), the one that must be served soonest. For two classes the rules are the
    same. Ties go to the class that comes first by name.
    """
    names = sorted(name for name, size in sizes.items() if size)
    total = sum(sizes[name] for name in names)
    if len(names) < 2:
        return names * total
    margin = 2 * len(names) - 2
    served = dict.fromkeys(names, 0)
    sequence = []
    for n in range(1, total + 1):
        # Remainders in units of 1 / total, so that all is exact.
        remainder = {name: n * sizes[name] - served[name] * total for name in names}
        eligible = [name for name in names if remainder[name] * margin >= total]
        chosen = min(
            eligible,
            key=lambda name: Fraction((margin - 1) * total - margin * remainder[name], sizes[name]),
        )
        served[chosen] += 1
        sequence.append(chosen)
    return sequence


def prefix_size(fraction: float, patients: int) -> int:
    """Number of patients in the subset of `fraction`: rounded to the nearest, halves up."""
    return math.floor(fraction * patients + 0.5)


def subset_of(
    splits: pd.DataFrame, cases: pd.DataFrame, fraction: float, draw: int
) -> pd.DataFrame:
    """The cases of one cell: rows of `cases` with a column `split` (train, val or test).

    Raises:
        StudyError: the subset lacks a class, or is empty.
    """
    patients = splits[(splits["role"] == "dev") & (splits["draw"] == draw)].sort_values("rank")
    chosen = patients.head(prefix_size(fraction, len(patients)))
    _refuse_missing_class(patients, chosen, fraction, draw)
    flagged = chosen["val_flag"] if has_validation(chosen) else pd.Series(False, chosen.index)
    split = {
        str(patient): "val" if flag else "train"
        for patient, flag in zip(chosen["patient_key"], flagged, strict=True)
    }
    split.update(dict.fromkeys(splits.loc[splits["role"] == "test", "patient_key"], "test"))
    named = cases.assign(split=cases["patient_key"].map(split))
    return named[named["split"].notna()].sort_values("volume_uid", ignore_index=True)


def has_validation(chosen: pd.DataFrame) -> bool:
    """Whether a subset (rows of splits) can spare validation: five patients in every class."""
    return bool((chosen["patient_class"].value_counts() >= LEAST_FOR_VALIDATION).all())


def subset_sha256(subset: pd.DataFrame) -> str:
    """The hash that names a cell's labelled cases and which of them validate."""
    labelled = subset[subset["split"] != "test"]
    return sha256_json(sorted(labelled[["volume_uid", "split"]].values.tolist()))


def _refuse_missing_class(
    patients: pd.DataFrame, chosen: pd.DataFrame, fraction: float, draw: int
) -> None:
    lacking = sorted(set(patients["patient_class"]) - set(chosen["patient_class"]))
    if lacking:
        raise StudyError(
            f"fraction {fraction:g} (draw {draw}) has {len(chosen)} of {len(patients)} patients, "
            f"none of class {', '.join(lacking)}; leave this fraction out, or start higher"
        )


def _hash(cases_hash: str, draw: int, patient: str) -> str:
    return hashlib.sha256(f"{cases_hash}|{draw}|{patient}".encode()).hexdigest()
