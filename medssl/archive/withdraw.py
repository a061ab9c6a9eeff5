"""Taking a patient out of a store, and telling which runs saw the scans.

A PatientID becomes its key at once and goes nowhere else. What is erased: the patient's voxels and
masks, every row, and what the journal knows of the files; it keeps the patient's key (and those of
NIfTI contents, whose patient only a table states), so that the next ingest leaves the scans out.
Runs are listed and not touched: what a model learned cannot be taken out of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from medssl.archive.cases import patient_tag
from medssl.archive.identity import Key, default_key_file, load_key
from medssl.archive.journal import Journal
from medssl.archive.lineage import Sighting, as_csv, sightings
from medssl.archive.linkage import Linkage
from medssl.archive.summary import refresh_counts
from medssl.errors import ConfigError, StoreError
from medssl.progress import SILENT, Progress
from medssl.store.parts import read_columns
from medssl.store.store import open_store
from medssl.store.writer import write_atomically

_KEY = re.compile(r"[0-9a-f]{32}")
_QUALITY_PAGE = "quality.html"


@dataclass(frozen=True)
class WithdrawConfig:
    """Whom to take out of which store.

    Attributes:
        patient: PatientID, a BIDS subject (sub-01, or folder/sub-01), or a patient_key.
        key_file: of the store; not needed for a patient_key.
        site: that the patient's scans were ingested under.
        issuer: of the PatientID, where the store's policy lets it count.
        linkage: file to take the patient's rows out of.
        runs: folders below which runs are looked for.
        out: table of the runs that saw the patient; None: withdrawn-KEY.csv in this folder.
    """

    store: Path
    patient: str = field(repr=False)
    key_file: Path | None = None
    site: str = ""
    issuer: str = ""
    linkage: Path | None = None
    runs: tuple[Path, ...] = (Path(),)
    out: Path | None = None


@dataclass(frozen=True)
class WithdrawResult:
    """What was erased, and who saw it. `was_done`: an earlier call had erased it."""

    patient_key: str
    volumes: int
    masks: int
    rejected: int
    linked: int
    seen: list[Sighting]
    listed_in: Path
    was_done: bool

    def lines(self) -> list[str]:
        """For the reader; the patient by key alone."""
        out = []
        for one in self.seen:
            count = f"{one.volumes} volumes" if one.volumes else "no volume of its own"
            out.append(f"{one.run} ({one.stage}): {one.how}, {count}")
            out += [f"  {path}" for path in one.weights]
        if self.seen:
            out.append(
                "these runs were not changed: delete them, or train again without the patient"
            )
        if self.was_done:
            erased = "was erased before: nothing was left"
        else:
            erased = (
                f"erased: {self.volumes} volumes, {self.masks} masks, {self.rejected} rejected rows"
            )
        erased += f", {self.linked} rows of the linkage file" if self.linked else ""
        return [
            *out,
            f"patient {self.patient_key} {erased}; {len(self.seen)} runs saw the scans, listed in "
            f"{self.listed_in}",
        ]


def withdraw(config: WithdrawConfig, progress: Progress = SILENT) -> WithdrawResult:
    """Erase a patient; killed at any moment, the same call finishes.

    Raises:
        ConfigError: the store does not know the patient, or a folder or file is not there.
        KeyFileError: a key is needed and cannot be used.
        StoreError: there is no store, it is of another key, or in use.
    """
    store = open_store(config.store)
    for path in (*config.runs, *([config.linkage] if config.linkage else [])):
        if not path.exists():
            raise ConfigError(f"there is no {path}")
    if config.linkage is not None and not config.linkage.is_file():
        raise ConfigError(f"{config.linkage} is no linkage file")
    key = _key_of(config, store.key_id)
    journal = Journal(config.store)
    finished = False
    try:
        patient_key = _known(config, key, journal)
        erased = _erase(config, key, journal, patient_key)
        finished = True
    finally:
        journal.close(finished)
    refresh_counts(config.store)
    progress.start("looking for runs that saw the scans", None)
    seen = sightings(config.runs, patient_key)
    progress.finish()
    out = config.out or Path(f"withdrawn-{patient_key[:12]}.csv")
    write_atomically(out, as_csv(seen))
    return WithdrawResult(patient_key, *erased, seen, out, was_done=not any(erased[:3]))


def _key_of(config: WithdrawConfig, key_id: str) -> Key | None:
    """The secret, where it is needed or named."""
    if _KEY.fullmatch(config.patient) and config.key_file is None:
        return None
    key = load_key(config.key_file or default_key_file())
    if key.key_id != key_id:
        raise StoreError(
            f"{config.store} was made under key {key_id}, this key is {key.key_id}; use that key "
            "file, or give the patient_key itself"
        )
    return key


def _known(config: WithdrawConfig, key: Key | None, journal: Journal) -> str:
    """The patient's key, if the store has something of it or had."""
    candidates = [config.patient] if _KEY.fullmatch(config.patient) else []
    if key is not None:
        candidates += _keys(config, key)
    for candidate in candidates:
        if journal.is_withdrawn(candidate) or journal.units_of_patient(candidate, (), ()):
            return candidate
    manifest = read_columns(config.store, "manifest", ["patient_key", "site"])
    for candidate in candidates:
        if pc.any(pc.equal(manifest["patient_key"].cast("string"), candidate)).as_py():
            return candidate
    sites = sorted(pc.unique(manifest["site"].cast("string")).to_pylist())
    named = ", ".join(site or "(none)" for site in sites) or "none"
    raise ConfigError(
        f"{config.store} knows no such patient under site {config.site or '(none)'}; check the "
        f"PatientID, --site (the store holds {named}), --issuer where the store lets it count, "
        "and --key-file; a column of --cases may have given the patient another name"
    )


def _keys(config: WithdrawConfig, key: Key) -> list[str]:
    """What the patient may be called in a store; see `medssl.archive.identities`."""
    name, issuer = config.patient.strip(), config.issuer.strip()
    folder, _, subject = name.rpartition("/")
    out = [key.hmac("patient", config.site, issuer, name)]
    if subject.startswith("sub-"):
        out.append(key.hmac("bids subject", config.site, folder, subject))
    return out


def _erase(
    config: WithdrawConfig, key: Key | None, journal: Journal, patient_key: str
) -> tuple[int, int, int, int]:
    """Volumes, masks, rejected rows and rows of the linkage file that went."""
    root = config.store
    volumes = _of_patient(root, "manifest", patient_key, ["source_format"])
    labels = _of_patient(root, "labels", patient_key, ["kind"])
    uids = set(volumes["volume_uid"]) | set(labels["volume_uid"])
    tags = [] if key is None else [patient_tag(key, config.patient)]
    units = sorted(journal.units_of_patient(patient_key, sorted(uids), tags))
    linked = 0
    if config.linkage is not None:  # first: afterwards nothing knows which units were the patient's
        linkage = Linkage(config.linkage)
        patient_id = "" if key is None else config.patient.strip()
        linked = linkage.remove_patient(patient_key, patient_id, units)
        linkage.finish()
    (root / _QUALITY_PAGE).unlink(missing_ok=True)  # it may show the patient
    nifti = set(volumes.loc[volumes["source_format"] == "NIFTI", "volume_uid"])
    contents = _instances(root, nifti)
    rejected = len(read_columns(root, "rejected", ["source_key"]))
    journal.withdraw(patient_key, contents, units)
    if len(_of_patient(root, "manifest", patient_key, [])):
        raise StoreError(
            f"{root} has rows of the patient that its journal does not know; it was not made by "
            "medssl ingest alone: ingest the archive, without the patient, into a new --out"
        )
    rejected -= len(read_columns(root, "rejected", ["source_key"]))
    return len(volumes), int((labels["kind"] == "mask").sum()), rejected, linked


def _of_patient(root: Path, kind: str, patient_key: str, names: list[str]) -> pd.DataFrame:
    table = read_columns(root, kind, ["volume_uid", "patient_key", *names])
    mine: pd.DataFrame = table.filter(
        pc.equal(table["patient_key"].cast("string"), patient_key)
    ).to_pandas()
    return mine


def _instances(root: Path, volume_uids: set[str]) -> list[str]:
    """Keys of the contents of files with content: of NIfTI, which name no patient of their own."""
    if not volume_uids:
        return []
    table = read_columns(root, "instances", ["volume_uid", "instance_key", "file_sha256"])
    frame: pd.DataFrame = table.to_pandas()
    mine = frame["volume_uid"].isin(volume_uids) & (frame["file_sha256"] != "")
    return sorted(set(frame.loc[mine, "instance_key"]))
