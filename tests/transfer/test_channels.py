"""Several series of a case: who belongs together, and that they show one place in the world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor, nn

import medssl.engine.loop as loop
from medssl.archive.lineage import sightings
from medssl.augment.batch import Batch
from medssl.augment.cache_config import CacheConfig
from medssl.augment.config import AugmentConfig
from medssl.augment.loader import Loader
from medssl.augment.policies import augment_in_place
from medssl.augment.reader import Reader
from medssl.config import parse_config
from medssl.errors import ConfigError, TrainingError
from medssl.export.finetuned import load_finetuned
from medssl.models.build import build_encoder
from medssl.models.config import SegResNetConfig
from medssl.models.weights import read_metadata, read_weights, save_weights
from medssl.predict.config import PredictConfig
from medssl.predict.predict import predict
from medssl.store import Store, open_store
from medssl.transfer.cases import labelled_cases, split_cases
from medssl.transfer.channel_scans import channel_scans
from medssl.transfer.channels import match_channels, volumes_of_cases
from medssl.transfer.config import FinetuneConfig, FitConfig
from medssl.transfer.digests import data_digests
from medssl.transfer.finetune import FinetuneResult, finetune
from medssl.transfer.initial import told_of_pretraining
from medssl.transfer.predictions import read_mask
from medssl.transfer.segmentation import Segmentation
from medssl.transfer.sources import Sampling, SegmentationSource
from medssl.transfer.task_config import ClassificationTask, SegmentationTask
from medssl.volume import Volume

from .conftest import write_scans

BOTH = ("CT", "PT")
PATIENTS = 8
MODEL = {"name": "segresnet", "init_filters": 4, "blocks_down": [1, 1]}


def turned(degrees: float, spacing: tuple[float, float, float]) -> np.ndarray:
    """An affine about the origin, turned about the third axis; its axes stored in another order."""
    angle = np.deg2rad(degrees)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = (turn @ np.diag(spacing))[:, [2, 0, 1]] * (1, -1, 1)
    return affine


def blob(
    shape: tuple[int, int, int], affine: np.ndarray, centre_mm: np.ndarray, at_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian bump at `at_mm` on a grid whose middle is `centre_mm`: 0 to 1, and the affine."""
    placed = affine.copy()
    placed[:3, 3] = centre_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = index @ placed[:3, :3].T + placed[:3, 3]
    return np.exp(-((world - at_mm) ** 2).sum(-1) / (2 * 3.5**2)), placed


def pair(number: int) -> tuple[list[tuple[Volume, np.ndarray]], np.ndarray]:
    """A CT with its mask and a PET of one patient, on grids of their own, with one landmark."""
    rng = np.random.default_rng(number)
    centre_mm = rng.uniform(-40, 40, 3)
    at_mm = centre_mm + rng.uniform(-4, 4, 3)
    bump, affine = blob((30, 34, 28), np.diag([-1.1, 1.0, 1.2, 1.0]), centre_mm, at_mm)
    ct = Volume(np.rint(-900 + 1500 * bump).astype(np.int16), affine, "CT", "HU")
    bump_pt, affine_pt = blob((18, 17, 20), turned(12, (2.0, 1.8, 2.2)), centre_mm + 1, at_mm)
    pt = Volume(np.rint(1 + 15 * bump_pt).astype(np.int16), affine_pt, "PT", "SUV")
    return [(ct, (bump > 0.6).astype(np.uint8)), (pt, np.zeros(0))], at_mm


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CT and PET of eight patients; a ninth has a CT alone. CT are 0, 2, 4, … and 16."""
    root = tmp_path_factory.mktemp("pairs") / "store"
    scans, labels = [], []
    for number in range(PATIENTS + 1):
        both = pair(number)[0][: 2 if number < PATIENTS else 1]
        uid = f"{len(scans):032x}"
        scans += [(volume, mask, f"patient{number}") for volume, mask in both]
        labels.append(
            {"volume_uid": uid, "patient_key": f"patient{number}", "name": "size", "kind": "class",
             "value": "large" if number % 2 else "small"}
        )  # fmt: skip
    write_scans(root, scans, labels)
    return root


def source(
    store: Store, channels: tuple[str, ...] | None, spatial: dict[str, Any], intensity: bool
) -> SegmentationSource:
    config = AugmentConfig.model_validate(
        {
            "patch": {"size": [28, 26, 24], "spacing_mm": 1.5},
            "spatial": spatial,
            "intensity": {"enabled": intensity},
        }
    )
    cases = labelled_cases(store, SegmentationTask(), BOTH).frame
    sampling = Sampling(store, cases, config, 3, 4, channels=channels)
    return SegmentationSource(sampling, "mask", (1,), 1.0)


def middle_of(image: np.ndarray) -> np.ndarray:
    """The centre of mass of what is bright, in voxels."""
    weights = np.clip(image - (image.min() + 0.5 * np.ptp(image)), 0, None)
    return np.array([(weights * index).sum() for index in np.indices(image.shape)]) / weights.sum()


@pytest.mark.parametrize(
    "spatial",
    [
        {"rotate_probability": 0, "scale_probability": 0, "flip": []},
        {"rotate_probability": 1, "rotate_deg": 40, "flip": [0, 1, 2], "scale": [0.8, 1.3]},
        {"rotate_probability": 1, "flip": [1], "elastic_probability": 1},
    ],
)
def test_a_landmark_lies_on_the_same_voxel_in_both_channels(
    pairs: Path, spatial: dict[str, Any]
) -> None:
    drawn = source(open_store(pairs), BOTH, spatial, intensity=False)
    mirrored = set()
    for index in range(8):
        sample = drawn.sample(index // 4, index % 4)
        ct, pt = sample["image"][0].numpy()
        assert sample["image"].shape == sample["valid"].shape == (1, 2, 28, 26, 24)
        # The PET is stored coarsely: a tenth of its voxels.
        np.testing.assert_allclose(middle_of(ct), middle_of(pt), atol=0.2)
        if "elastic_probability" in spatial:
            continue
        number = int(sample["volume"])
        _, at_mm = pair(number)
        to_world = drawn.scans[number].affine @ sample["map"][0].double().numpy()
        expected = np.linalg.solve(to_world, [*at_mm, 1])[:3]
        np.testing.assert_allclose(middle_of(pt), expected, atol=0.2)
        mirrored.add(bool(np.linalg.det(to_world[:3, :3]) > 0))
    assert "flip" not in spatial or len(spatial["flip"]) < 3 or mirrored == {True, False}


def test_a_channel_is_read_at_the_world_position_of_each_voxel(pairs: Path) -> None:
    store = open_store(pairs)
    drawn = source(store, BOTH, {"rotate_probability": 1, "flip": [0]}, intensity=False)
    sample = drawn.sample(0, 1)
    number = int(sample["volume"])
    _, pet = channel_scans(store, [drawn.scans[number].volume_uid], BOTH)[0]
    index = np.indices((28, 26, 24)).reshape(3, -1)
    world = drawn.scans[number].affine @ sample["map"][0].double().numpy()
    at = np.linalg.inv(pet.affine) @ world @ np.vstack([index, np.ones(index.shape[1])])
    values = store.read(pet.volume_uid).voxels
    within = ((at[:3].T > 0) & (np.array(values.shape) - 1 > at[:3].T)).all(1)
    expected = np.sqrt(np.clip(map_coordinates(values, at[:3], order=1, mode="nearest"), 0, 20))
    found, valid = sample["image"][0, 1].flatten().numpy(), sample["valid"][0, 1].flatten().numpy()
    assert 0.2 < within.mean() < 1
    assert valid[within].all()
    np.testing.assert_allclose(found[within], expected[within], atol=2e-3)
    # Beyond the PET there is nothing, whether or not there is a CT.
    beyond = ((at[:3].T < -0.51) | (np.array(values.shape) - 0.49 < at[:3].T)).any(1)
    assert beyond.any()
    assert not valid[beyond].any()
    assert (found[beyond] == sample["background"][1].item()).all()


def test_one_channel_is_what_it_is_without_naming_it(pairs: Path) -> None:
    store = open_store(pairs)
    drawn = [source(store, names, {"rotate_probability": 1}, True) for names in (None, ("CT",))]
    for one, other in zip(*(Loader(s, finish=True).batches(0, 4) for s in drawn), strict=True):
        assert one[1].keys() == other[1].keys()
        for key, value in one[1].items():
            assert torch.equal(value, other[1][key]), key
        assert one[1]["background"].shape == one[1]["policy"].shape == (4,)


def test_each_channel_is_augmented_by_its_own_modality(pairs: Path) -> None:
    store = open_store(pairs)
    plain, augmented = (source(store, BOTH, {}, on) for on in (False, True))
    changed = [0, 0]
    for (step, before), (_, after) in zip(
        *(Loader(s, finish=True).batches(0, 6) for s in (plain, augmented)), strict=True
    ):
        for k in range(2):
            # As a batch of this modality alone, whose views before this one are not looked at.
            alone: Batch = {
                **before,
                "image": before["image"][:, :, k : k + 1].clone(),
                "valid": before["valid"][:, :, k : k + 1].clone(),
                "background": before["background"][:, k],
                "policy": before["policy"][:, k],
            }
            assert (alone["policy"] == (0, 2)[k]).all()
            augment_in_place(alone, step, 3, 1.0, first_view=k)
            assert torch.equal(alone["image"], after["image"][:, :, k : k + 1])
            changed[k] += int((alone["image"] != before["image"][:, :, k : k + 1]).any())
    assert min(changed) > 2
    whole = next(Loader(plain).batches(3, 4))[1]
    augmented.finish(whole, 3)  # all samples of the batch together, as for a GPU
    one_by_one = next(Loader(augmented, finish=True).batches(3, 4))[1]
    assert torch.equal(whole["image"], one_by_one["image"])


def test_partners_are_taken_by_study_then_size_and_must_lie_over_the_case(tmp_path: Path) -> None:
    (ct, _), (pt, _) = pair(0)[0]
    none = np.zeros(0)
    smaller = Volume(pt.voxels[:-2], pt.affine, "PT", "SUV")
    far = Volume(pt.voxels, pt.affine.copy(), "PT", "SUV")
    far.affine[:3, 3] += 500
    in_study, another, unnamed = {"study_key": "a"}, {"study_key": "b"}, {"study_key": ""}
    scans = [
        (ct, none, "p", in_study),  # 0: takes 2, the only one of its study that lies over it
        (pt, none, "p", another),
        (smaller, none, "p", in_study),
        (far, none, "p", in_study),
        (ct, none, "q", unnamed),  # 4: takes 6, the larger one
        (smaller, none, "q", unnamed),
        (pt, none, "q", unnamed),
        (pt, none, "q", unnamed),
        (ct, none, "r", in_study),  # 8: that of another study, and it is told
        (pt, none, "r", another),
        (ct, none, "s", in_study),  # 10: none lies over it
        (far, none, "s", in_study),
        (ct, none, "t", in_study),  # 12: other patients' are not taken
    ]
    write_scans(tmp_path / "s", [s[:3] for s in scans], [], [s[3] for s in scans])
    store = open_store(tmp_path / "s")
    match = match_channels(store, list(store.manifest.index), BOTH)
    assert [[int(uid, 16) for uid in uids] for uids in match.volumes] == [[0, 2], [4, 6], [8, 9]]
    assert match.lines() == [
        "channels CT, PT: 3 cases",
        "8 volumes of other series than CT are no cases",
        "2 volumes of CT are left out: no PT of the patient lies over them",
        "1 cases take PT of another study: it is not registered, positions are the scanners'",
    ]
    with pytest.raises(ConfigError, match=r"no series FLAIR; modalities and contrasts .* CT, PT"):
        match_channels(store, list(store.manifest.index), ("CT", "FLAIR"))
    with pytest.raises(TrainingError, match="1 of 2 cases have no series of every channel CT, PT"):
        channel_scans(store, [f"{0:032x}", f"{12:032x}"], BOTH)


def test_contrasts_are_channels_and_a_volume_is_taken_once(tmp_path: Path) -> None:
    volume = Volume(pair(0)[0][0][0].voxels, np.eye(4), "MR")
    contrasts = ["T1", "FLAIR", "T1"]
    write_scans(
        tmp_path / "s",
        [(volume, np.zeros(0), "p")] * 3,
        [],
        [{"contrast": contrast} for contrast in contrasts],
    )
    store = open_store(tmp_path / "s")
    uids = list(store.manifest.index)
    assert match_channels(store, uids, ("FLAIR", "T1")).volumes == [(uids[1], uids[0])]
    twice = match_channels(store, uids[:1], ("T1", "MR", "FLAIR")).volumes
    assert twice == []  # MR takes the FLAIR, the first of the others, and leaves none
    assert match_channels(store, uids[:1], ("T1", "FLAIR", "MR")).volumes == [
        (uids[0], uids[1], uids[2])
    ]


class SecondChannel(nn.Module):
    """Calls bright what is so in the second channel."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(3.162))

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape[1] == 2
        return torch.cat([self.level - image[:, 1:], image[:, 1:] - self.level], dim=1)


def test_a_mask_predicted_from_the_second_channel_lies_right_on_the_first(pairs: Path) -> None:
    store = open_store(pairs)
    config = FitConfig.model_validate(
        {
            "task": {"name": "segmentation"},
            "augment": {"patch": {"size": [16, 16, 16], "spacing_mm": 1.4}},
            "channels": BOTH,
        }
    )
    cases = labelled_cases(store, SegmentationTask(), BOTH).frame.assign(split="train")
    task = Segmentation(config, SegResNetConfig.model_validate(MODEL), store, cases, ("1",), 0)
    task.network = SecondChannel()  # type: ignore[assignment]
    found = task.predict(cases.iloc[:3].assign(split="test"))
    dice = 2 * found["tp_1"] / (2 * found["tp_1"] + found["fp_1"] + found["fn_1"])
    # The square of the level, 1 + 15 * 0.6, is the PET where the mask ends.
    assert (dice > 0.8).all()
    for number, uid in enumerate(cases["volume_uid"].iloc[:3]):
        (case,) = channel_scans(store, [uid], BOTH)
        predicted = task.predict_mask(Reader(store, CacheConfig(gigabytes=0)), case)
        assert predicted.shape == case[0].shape
        middle = np.argwhere(predicted).mean(axis=0)
        at_mm = case[0].affine[:3, :3] @ middle + case[0].affine[:3, 3]
        assert np.linalg.norm(at_mm - pair(number)[1]) < 0.5


def configured(store: Path, learned: str, **changes: Any) -> FinetuneConfig:
    tasks = {
        "classification": {"name": "classification", "label": "size", "dropout": 0.0},
        "segmentation": {"name": "segmentation"},
    }
    values: dict[str, Any] = {
        "store": str(store),
        "task": tasks[learned],
        "channels": BOTH,
        "model": MODEL,
        "augment": {"patch": {"size": [16, 16, 16], "spacing_mm": 2.0}},
        "optim": {"lr": 0.01, "warmup_steps": 2},
        "runtime": {"num_workers": 0, "threads": 1, "checkpoint_every": 2, "log_every": 2},
        "steps": 5,
        "batch_size": 2,
        "validate_every": 4,
        "split": {"test": 0.25, "val": 0.25},
    }
    given = {name: value for name, value in {**values, **changes}.items() if value is not ...}
    return parse_config(FinetuneConfig, given)


def test_a_killed_run_of_two_channels_goes_on_to_the_same_bits(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(pairs, "segmentation")
    whole = finetune(config, tmp_path / "whole")
    advance = loop._Loop._advance

    def dies(self: Any, batch: Any, step: int, stop: Any) -> bool:
        if step == 3:
            raise KeyboardInterrupt
        return advance(self, batch, step, stop)

    monkeypatch.setattr(loop._Loop, "_advance", dies)
    with pytest.raises(KeyboardInterrupt):
        finetune(config, tmp_path / "broken")
    monkeypatch.undo()
    broken = finetune(config, tmp_path / "broken")
    assert "resumed at step 2" in (broken.run / "run.log").read_text()
    assert whole.model.read_bytes() == broken.model.read_bytes()
    pd.testing.assert_frame_equal(
        pd.read_parquet(whole.predictions), pd.read_parquet(broken.predictions)
    )
    _check_records(whole, pairs)
    _check_prediction(whole, pairs, tmp_path / "predicted")


def _check_records(result: FinetuneResult, path: Path) -> None:
    """What a run of two channels leaves says so, and what takes one series refuses it."""
    about = read_metadata(result.model)
    assert (about["in_channels"], about["channels"]) == ("2", '["CT", "PT"]')
    log = (result.run / "run.log").read_text()
    assert "channels CT, PT: 8 cases" in log
    assert "1 volumes of CT are left out: no PT" in log
    store = open_store(path)
    volumes = pd.read_parquet(result.run / "cases.parquet")
    assert sorted(volumes["volume_uid"]) == list(store.manifest.index[: 2 * PATIENTS])
    assert (volumes.groupby("patient_key")["split"].nunique() == 1).all()
    modality = store.manifest.loc[volumes["volume_uid"], "modality"].to_numpy()
    assert (modality == np.where(volumes["channel"] == 0, "CT", "PT")).all()
    trained = volumes.loc[volumes["split"] == "train", "patient_key"].iloc[0]
    (seen,) = [s for s in sightings([result.run.parent], trained) if s.run == result.run]
    assert ("trained on" in seen.how, seen.volumes) == (True, 2)
    with pytest.raises(ConfigError, match=r"takes 2 channels \(CT, PT\)"):
        load_finetuned(result.run)


def _check_prediction(result: FinetuneResult, path: Path, out: Path) -> None:
    """`medssl predict` finds the partners too, and gives the masks that the run gave."""
    again = predict(PredictConfig(run=result.run, input=path, out=out))
    assert again.predicted == PATIENTS
    assert [(x.input, x.detail) for x in again.failed] == [
        (f"{2 * PATIENTS:032x}", "no PT of the patient lies over it")
    ]
    masks = pd.read_csv(again.table).set_index("input")["mask"]
    tested = pd.read_parquet(result.predictions).query("split == 'test'")
    for _, row in tested.iterrows():
        there = np.asarray(nib.load(out / masks[row["volume_uid"]]).dataobj)
        np.testing.assert_array_equal(there, read_mask(result.run, row["mask_path"]))
    assert predict(PredictConfig(run=result.run, input=path, out=out)).done_before == PATIENTS


@pytest.mark.parametrize(
    "regime", [{"name": "full"}, {"name": "linear_probe"}, {"name": "attention_probe", "heads": 2}]
)
def test_regimes_take_channels_and_a_stem_of_one(
    pairs: Path, tmp_path: Path, regime: dict[str, Any]
) -> None:
    encoder = build_encoder(SegResNetConfig.model_validate(MODEL), 1, (16, 16, 16))
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    saved = tmp_path / "encoder.safetensors"
    save_weights(saved, state, {"model": encoder.config.model_dump_json()})
    given: dict[str, Any] = {"regime": regime, "model": None, "init": str(saved)}
    if regime["name"] == "linear_probe":  # without what has no effect there
        given |= {"task": {"name": "classification", "label": "size"}}
        given |= dict.fromkeys(("optim", "steps", "validate_every"), ...)
    config = configured(pairs, "classification", **given)
    result = finetune(config, tmp_path / "run")
    assert "fitted to the number of input channels" in (result.run / "run.log").read_text()
    report = (result.run / "report.html").read_text()
    assert "What the answers rest on" in report
    assert "A map of the cases" in report
    if regime["name"] == "full":
        return
    # Frozen: the file's kernel for both channels, halved, so that equal ones are answered alike.
    stem = f"encoder.{encoder.stem_key}"
    one, two = state[stem], read_weights(result.model)[stem]
    assert two.shape[1] == 2
    for k in range(2):
        torch.testing.assert_close(two[:, k : k + 1], one / 2)


def test_folds_take_channels(pairs: Path, tmp_path: Path) -> None:
    split = {"source": "folds", "folds": 2, "val": 0.0}
    result = finetune(configured(pairs, "classification", split=split, steps=2), tmp_path / "run")
    predictions = pd.read_parquet(result.predictions)
    assert len(predictions) == PATIENTS
    assert predictions["patient_key"].is_unique
    for fold in range(2):
        volumes = pd.read_parquet(result.run / "folds" / str(fold) / "cases.parquet")
        assert len(volumes) == 2 * PATIENTS
        assert (volumes.groupby("patient_key")["split"].nunique() == 1).all()


def test_an_encoder_that_saw_a_partner_is_a_leak(pairs: Path, tmp_path: Path) -> None:
    store = open_store(pairs)
    task = ClassificationTask(label="size")
    split = configured(pairs, "classification").split
    _, cases, _ = split_cases(store, task, split, BOTH)
    tested = volumes_of_cases(store, cases[cases["split"] == "test"], BOTH)
    pets = tested.loc[tested["channel"] == 1, "volume_uid"]
    save_weights(
        tmp_path / "checkpoints" / "encoder.safetensors",
        {"encoder.x": torch.zeros(1)},
        {"store_key_id": "another"},
    )
    hashes = store.manifest.loc[pets, "pixel_sha256"].tolist()
    seen = pd.DataFrame({"patient_key": "x", "pixel_sha256": hashes})
    seen.to_parquet(tmp_path / "volumes.parquet")
    told = told_of_pretraining(tmp_path, store, tested)
    assert told.startswith(f"LEAK: pretraining saw {len(hashes)} of the test scans")
    assert data_digests(store, cases) != data_digests(store, cases, BOTH)


@pytest.mark.parametrize(
    ("channels", "message"), [([], "at least 1 item"), (["CT", "CT"], "a channel is named twice")]
)
def test_channels_are_different_names(channels: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(Path("s"), "segmentation", channels=channels)
