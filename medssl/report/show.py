"""The contact sheet of a store: which scans it shows, and where it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from medssl.bundled import bundled
from medssl.config import load_config
from medssl.engine.config import PretrainConfig
from medssl.errors import ConfigError
from medssl.progress import SILENT, Progress
from medssl.store import open_store
from medssl.store.schema import PERCENTILES
from medssl.volume import Modality

if TYPE_CHECKING:
    from medssl.store import Store

MODALITIES: tuple[Modality, ...] = get_args(Modality)

_SCANS = 2


@dataclass(frozen=True)
class ShowConfig:
    """What `medssl show` is asked for; see its help."""

    store: Path
    out: Path = Path("contact-sheet.png")
    policy: str | None = None
    volume: str | None = None
    views: int = 6
    seed: int = 0
    config: Path | None = None
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShowResult:
    """Where the picture is, and what is on it.

    Attributes:
        plain_values: the method learns from values that are not augmented.
    """

    picture: Path
    volume_uids: list[str]
    plain_values: str | None

    def lines(self) -> list[str]:
        """What the command line says."""
        note = f"method {self.plain_values}: intensities are not augmented in its pretraining"
        return [
            *([note] if self.plain_values else []),
            f"contact sheet of {len(self.volume_uids)} scans: {self.picture}",
        ]


def show(asked: ShowConfig, progress: Progress = SILENT) -> ShowResult:
    """Write the contact sheet.

    Raises:
        ConfigError: an option is wrong, or the store has no such scan.
        StoreError: there is no store, or its voxels are missing or damaged.
    """
    if asked.out.suffix.lower() != ".png":
        raise ConfigError(f"--out {asked.out}: a PNG is written; give a name that ends in .png")
    if asked.policy and asked.volume:
        raise ConfigError("--policy has no effect beside --volume; leave one of them out")
    policy = _policy(asked.policy)
    store = open_store(asked.store)
    path = asked.config or bundled("configs/pretrain/simclr.yaml")
    config = load_config(PretrainConfig, path, [*asked.overrides, f"store={asked.store}"])
    # torch, monai and matplotlib take seconds to import: after what can fail at once.
    from medssl.augment.reader import Reader
    from medssl.methods.catalogue import augments_intensity
    from medssl.report.augmented_views import draw_scan
    from medssl.report.contact_sheet import contact_sheet, write_png

    intensity = augments_intensity(config.method)
    if asked.volume is None:
        uids = choose_scans(store, None if policy is None else [policy], _SCANS)
    else:
        uids = [find_scan(store, asked.volume)]
    reader = Reader(store)
    scans = []
    progress.start("drawing views", len(uids) * asked.views)
    for place, uid in enumerate(uids):
        first = place * asked.views
        row = store.row(uid)
        scans.append(
            draw_scan(reader, row, config.augment, asked.seed, asked.views, first, intensity)
        )
        progress.advance(asked.views)
    progress.finish()
    size = " × ".join(str(n) for n in config.augment.patch.size)
    about = (
        f"Patches of {size} voxels as pretraining draws them, seed {asked.seed}: axial, coronal "
        "and sagittal plane through the middle. "
        "Letters tell the patient's sides. Turns are about the axes to the right, front and top."
    )
    write_png(contact_sheet(scans, about), asked.out)
    return ShowResult(asked.out, uids, None if intensity else config.method.name)


def choose_scans(store: Store, policies: Sequence[Modality] | None, most: int) -> list[str]:
    """volume_uids, `most` of each policy, of different patients where there are; always the same.

    Args:
        policies: None takes all that the store has scans for.

    Raises:
        ConfigError: the store has no scan for one of the policies.
    """
    from medssl.augment.normalise import Normaliser

    wanted = MODALITIES if policies is None else tuple(policies)
    rows = store.columns("modality", "units", "patient_key", *PERCENTILES)
    chosen: dict[Modality, list[str]] = {policy: [] for policy in wanted}
    further: dict[Modality, list[str]] = {policy: [] for policy in wanted}
    patients: dict[Modality, set[str]] = {policy: set() for policy in wanted}
    there: Counter[Modality] = Counter()
    columns = {str(name): rows[name].array for name in rows.columns}
    for at, uid in enumerate(rows.index):
        policy = Normaliser.from_row({name: column[at] for name, column in columns.items()}).policy
        there[policy] += 1
        if policy not in chosen or len(chosen[policy]) == most:
            continue
        patient = str(columns["patient_key"][at])
        is_new = not patient or patient not in patients[policy]
        (chosen if is_new else further)[policy].append(str(uid))
        patients[policy].add(patient)
        if all(len(found) == most for found in chosen.values()):
            break
    if not there:
        raise ConfigError(f"the store {store.root} is empty; medssl ingest ARCHIVE fills it")
    for policy in wanted if policies is not None else ():
        if not there[policy]:
            found = ", ".join(f"{n.lower()} ({there[n]})" for n in MODALITIES if there[n])
            raise ConfigError(
                f"--policy {policy.lower()}: the store has no volume for it; give one of those "
                f"that it has volumes for: {found}"
            )
    return [uid for name in wanted for uid in (chosen[name] + further[name])[:most]]


def find_scan(store: Store, start: str) -> str:
    """The volume_uid that begins with `start`.

    Raises:
        ConfigError: no volume does, or several.
    """
    uids = [str(uid) for uid in store.columns("modality").index if uid.startswith(start)]
    if not uids:
        raise ConfigError(
            f"--volume {start}: the store has no such volume; give the volume_uid of a manifest "
            "row, or leave --volume out"
        )
    if len(uids) > 1:
        raise ConfigError(f"--volume {start}: {len(uids)} volumes begin so; give more of it")
    return uids[0]


def _policy(name: str | None) -> Modality | None:
    if name is None:
        return None
    for policy in MODALITIES:
        if policy.lower() == name.lower():
            return policy
    raise ConfigError(f"--policy {name}: ct, mr, pt or ot is expected")
