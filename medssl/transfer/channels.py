"""Several series of one patient as the channels of a case, on the grid of the first.

A case is a volume of the first channel, which carries the label or the mask, with one volume of
the same patient for each other channel. Which one is a rule on the manifest alone: it lies over
the case's volume in space; of several, one of the same study goes first, then the one with most
voxels, then the lowest volume_uid. Nothing is registered: positions are those of the scanners.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medssl.errors import ConfigError, TrainingError
from medssl.store import Store
from medssl.store.store import affine_of

Channels = tuple[str, ...]


@dataclass(frozen=True)
class ChannelMatch:
    """Which volumes stand beside each other.

    Attributes:
        volumes: uids of each case that has all channels, in the order of the channels.
        in_store: how many volumes of the first channel the store has.
        other_series: how many volumes were offered that are not of the first channel.
        lacking: volume of the first channel that is left out -> the channel that it lacks.
        other_study: channel -> how many cases take it from another study.
    """

    channels: Channels
    volumes: list[tuple[str, ...]]
    in_store: int
    other_series: int
    lacking: dict[str, str]
    other_study: dict[str, int]

    def lines(self) -> list[str]:
        """For the reader: what a case is, and what is left out."""
        first = self.channels[0]
        lines = [f"channels {', '.join(self.channels)}: {len(self.volumes)} cases"]
        if self.other_series:
            lines.append(f"{self.other_series} volumes of other series than {first} are no cases")
        lines += [
            f"{count} volumes of {first} are left out: no {name} of the patient lies over them"
            for name, count in Counter(self.lacking.values()).items()
        ]
        lines += [
            f"{count} cases take {name} of another study: it is not registered, positions are the "
            "scanners'"
            for name, count in self.other_study.items()
        ]
        return lines


def match_channels(store: Store, volume_uids: Sequence[str], channels: Channels) -> ChannelMatch:
    """The series that belong to each of the volumes, as the module's first lines say.

    Args:
        channels: each a modality or a contrast of the manifest.

    Raises:
        ConfigError: the store has no series of a channel.
    """
    manifest = store.manifest.fillna({"study_key": ""})
    of_channel = _rows_by_channel(manifest, channels)
    offered = pd.Index(volume_uids)
    cases = manifest.loc[offered[offered.isin(of_channel[0].index)]]
    patients = set(cases["patient_key"])
    candidates = [
        dict(list(rows[rows["patient_key"].isin(patients)].groupby("patient_key")))
        for rows in of_channel[1:]
    ]
    volumes: list[tuple[str, ...]] = []
    lacking: dict[str, str] = {}
    other_study = dict.fromkeys(channels[1:], 0)
    for uid, case in cases.iterrows():
        taken = [str(uid)]
        elsewhere = []
        for name, by_patient in zip(channels[1:], candidates, strict=True):
            partner = _partner(case, by_patient.get(case["patient_key"]), taken)
            if partner is None:
                lacking[taken[0]] = name
                break
            taken.append(str(partner["volume_uid"]))
            if case["study_key"] and partner["study_key"] not in ("", case["study_key"]):
                elsewhere.append(name)
        else:
            volumes.append(tuple(taken))
            for name in elsewhere:
                other_study[name] += 1
    return ChannelMatch(
        channels,
        volumes,
        len(of_channel[0]),
        len(offered) - len(cases),
        lacking,
        {name: n for name, n in other_study.items() if n},
    )


def volumes_of_cases(store: Store, cases: pd.DataFrame, channels: Channels | None) -> pd.DataFrame:
    """Every volume that the cases are made of: those of further channels as rows of their own.

    Args:
        cases: volume_uid, patient_key, split; one row a case.

    Returns:
        volume_uid, patient_key, split, channel (its number; 0 is the case's own), by channel. A
        volume that two cases share stands there once.
    """
    volumes = case_volumes(store, cases["volume_uid"].tolist(), channels)
    known = cases[["patient_key", "split"]].reset_index(drop=True)
    parts = []
    for number, uids in enumerate(zip(*volumes, strict=True)):
        parts.append(known.assign(volume_uid=list(uids), channel=number))
    frame = pd.concat(parts, ignore_index=True).drop_duplicates(["volume_uid", "split"])
    return frame[["volume_uid", "patient_key", "split", "channel"]].reset_index(drop=True)


def _rows_by_channel(manifest: pd.DataFrame, channels: Channels) -> list[pd.DataFrame]:
    modality, contrast = manifest["modality"], manifest["contrast"]
    found = [manifest[(modality == name) | (contrast == name)] for name in channels]
    absent = [name for name, rows in zip(channels, found, strict=True) if rows.empty]
    if absent:
        there = sorted({str(v) for column in (modality, contrast) for v in column.dropna()} - {""})
        raise ConfigError(
            f"channels: the store has no series {', '.join(absent)}; modalities and contrasts of "
            f"its series are {', '.join(there)}"
        )
    return found


def _partner(
    case: pd.Series[Any], rows: pd.DataFrame | None, taken: list[str]
) -> pd.Series[Any] | None:
    """The volume that stands beside a case, of one channel's volumes of the patient."""
    if rows is None:
        return None
    fitting = [
        row for uid, row in rows.iterrows() if uid not in taken and _lie_over_each_other(case, row)
    ]

    def rank(row: pd.Series[Any]) -> tuple[bool, int, str]:
        same_study = bool(case["study_key"]) and row["study_key"] == case["study_key"]
        return not same_study, -int(np.prod(_shape(row))), str(row["volume_uid"])

    return min(fitting, key=rank, default=None)


def _lie_over_each_other(one: pd.Series[Any], other: pd.Series[Any]) -> bool:
    """Whether the box round the other volume, along the first one's axes, meets the first."""
    shape = _shape(one)
    corners = np.array(
        [[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64
    ).T
    corners[:3] = corners[:3] * _shape(other)[:, None] - 0.5
    index = (np.linalg.solve(affine_of(one), affine_of(other)) @ corners)[:3]
    return bool(((index.max(axis=1) > -0.5) & (index.min(axis=1) < shape - 0.5)).all())


def _shape(row: pd.Series[Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([int(row[f"shape_{axis}"]) for axis in range(3)], dtype=np.int64)


def case_volumes(
    store: Store, volume_uids: Sequence[str], channels: Channels | None
) -> list[tuple[str, ...]]:
    """The volumes of every case, in the order of the channels; none is left out.

    Raises:
        TrainingError: a case has no series of a channel.
    """
    if channels is None:
        return [(str(uid),) for uid in volume_uids]
    match = match_channels(store, volume_uids, channels)
    if len(match.volumes) < len(volume_uids):
        raise TrainingError(
            f"{len(volume_uids) - len(match.volumes)} of {len(volume_uids)} cases have no series "
            f"of every channel {', '.join(channels)}; leave them out"
        )
    return match.volumes
