"""An exported bundle, loaded and run by MONAI alone, gives medssl's numbers."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from medssl.augment.cache_config import CacheConfig
from medssl.augment.config import PatchConfig
from medssl.augment.normalise import Normaliser
from medssl.augment.prefilter import window
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.augment.spatial import sample, sample_volume
from medssl.errors import ConfigError
from medssl.export.bundle import export_bundle
from medssl.export.bundle_scripts.averaging import window_weights
from medssl.export.bundle_scripts.preprocess import Measured, OnTrainingGrid, normalisation
from medssl.export.bundle_scripts.preprocess import foreground as bundle_foreground
from medssl.models.config import (
    ModelConfig,
    ResEncConfig,
    ResNetConfig,
    SegResNetConfig,
    SwinUNETRConfig,
    ViTConfig,
)
from medssl.store import Store, open_store
from medssl.store.describe import describe_values, foreground_of, geometry_columns
from medssl.store.voxels import write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.transfer.sources import foreground_centre
from medssl.transfer.whole_volume import covering_map, predict_mask
from medssl.volume import Modality, Units, Volume

Runs = Callable[..., nn.Module]
RESENC = ResEncConfig(features_per_stage=(4, 8), n_blocks_per_stage=(1, 1))
VIT = ViTConfig(token_size=4, dim=24, depth=2, heads=2)
SWIN = SwinUNETRConfig(feature_size=12)
SPACING = 1.2


def scan(units: Units, number: int = 0) -> Volume:
    """A bright ball off the middle, in a tilted frame with axes stored the other way round."""
    rng = np.random.default_rng(number)
    shape = (21, 24, 18)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    ball = np.linalg.norm(index - (9, 14, 8), axis=-1) < 6
    values = {"HU": -900 + 950 * ball, "SUV": 0.5 + 6 * ball, "arbitrary": 400.0 * ball}[units]
    noise = rng.normal(size=shape) * {"HU": 20, "SUV": 0.3, "arbitrary": 15}[units]
    voxels = (values + np.where(ball | (units != "arbitrary"), noise, 0)).astype(np.float32)
    if units == "SUV":
        voxels = np.abs(voxels)
    a = 0.2
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, -2.0, 0], [1.5, 0, 0], [0, 0, 1.8]])
    affine[:3, 3] = (-12, 7, 30)
    modality: dict[str, Modality] = {"HU": "CT", "SUV": "PT", "arbitrary": "MR"}
    return Volume(voxels, affine, modality[units], units)


def stored(root: Path, volume: Volume) -> tuple[Store, ScanInfo]:
    """A store of one scan."""
    create_store(root, "key", {})
    uid = "0" * 32
    write_voxels(root / volume_path(uid), volume.voxels)
    row: dict[str, Any] = {
        "volume_uid": uid, "patient_key": "p", "modality": volume.modality, "units": volume.units,
        "path": volume_path(uid), **describe_values(volume), **geometry_columns(volume),
    }  # fmt: skip
    write_part(root, "manifest", "00000", [row])
    return open_store(root), ScanInfo.from_row(row)


def preprocessed(
    volume: Volume, size: list[int] | None = None, spacing: float = SPACING
) -> torch.Tensor:
    """What the bundle's own transforms make of a scan, (1, D, H, W)."""
    image = MetaTensor(volume.voxels[None].copy(), affine=torch.from_numpy(volume.affine))
    data = Measured("image", volume.units)({"image": image})
    laid: torch.Tensor = OnTrainingGrid("image", [spacing] * 3, size)(data)["image"].as_tensor()
    return laid


@pytest.mark.parametrize("units", ["HU", "SUV", "arbitrary"])
def test_scans_are_resampled_and_normalised_as_in_training(tmp_path: Path, units: Units) -> None:
    volume = scan(units)
    store, info = stored(tmp_path / "store", volume)
    reader = Reader(store, CacheConfig(gigabytes=0))
    matrix, shape = covering_map(info, np.array([SPACING] * 3))
    whole = sample(reader, info, matrix, shape).image
    np.testing.assert_allclose(preprocessed(volume)[0].numpy(), whole, atol=2e-4)

    size = (20, 44, 12)  # beyond the scan along one axis
    crop = sample_volume(reader, info, size, SPACING, foreground_centre(info)).image
    assert not sample_volume(reader, info, size, SPACING, foreground_centre(info)).valid.all()
    np.testing.assert_allclose(preprocessed(volume, list(size))[0].numpy(), crop, atol=2e-4)


@pytest.mark.parametrize("spacing", [2.5, 4.0, 6.5])  # up to 4.3 stored voxels
@pytest.mark.parametrize("units", ["HU", "arbitrary"])
def test_a_coarser_grid_is_averaged_before_as_in_training(
    tmp_path: Path, units: Units, spacing: float
) -> None:
    volume = scan(units)
    store, info = stored(tmp_path / "store", volume)
    reader = Reader(store, CacheConfig(gigabytes=0))
    matrix, shape = covering_map(info, np.array([spacing] * 3))
    whole = sample(reader, info, matrix, shape).image
    found = preprocessed(volume, spacing=spacing)[0].numpy()
    np.testing.assert_allclose(found, whole, atol=2e-4)


def test_windows_of_averages_are_those_of_training() -> None:
    for step in np.linspace(1, 12, 400):
        np.testing.assert_allclose(window_weights(step), window(step).weights, atol=1e-12)


@pytest.mark.parametrize("kind", ["ball", "no constant background", "one value"])
def test_foreground_and_normalisation_are_the_stores(kind: str) -> None:
    voxels = scan("arbitrary").voxels
    if kind == "no constant background":
        voxels = voxels + np.random.default_rng(1).uniform(1, 30, voxels.shape).astype("f4")
    elif kind == "one value":
        voxels = (voxels > 0).astype("f4")
    volume = Volume(voxels, np.eye(4), "MR", "arbitrary")
    inside = bundle_foreground(voxels, "arbitrary")
    np.testing.assert_array_equal(inside, foreground_of(volume))
    row = {**describe_values(volume), "units": "arbitrary", "modality": "MR"}
    expected = Normaliser.from_row(row)
    found = normalisation(voxels, inside, "arbitrary")
    for name in ("low", "high", "centre", "scale", "background"):
        assert found[name] == pytest.approx(getattr(expected, name), rel=1e-5), name


@pytest.mark.parametrize(
    ("task", "model", "patch", "network"),
    [
        ("segmentation", SegResNetConfig(init_filters=4, blocks_down=(1, 2)), (8, 8, 12), True),
        ("segmentation", SegResNetConfig(init_filters=4, blocks_down=(1, 1)), (9, 8, 8), False),
        pytest.param(
            *("segmentation", SWIN, (64, 64, 64), True),
            marks=pytest.mark.slow,
        ),
        ("segmentation", RESENC, (8, 8, 8), False),
        ("classification", ResNetConfig(depth=10, conv1_stride=1, norm="batch"), (17,) * 3, True),
        ("classification", ResNetConfig(depth=10, conv1_stride=1), (17, 17, 17), False),
        ("classification", VIT, (8, 16, 8), False),
        ("segmentation", VIT, (8, 16, 8), False),
    ],
)
def test_monai_loads_the_network_and_gets_its_numbers(
    tmp_path: Path,
    finetuned_run: Runs,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    model: ModelConfig,
    patch: tuple[int, int, int],
    network: bool,
) -> None:
    net = finetuned_run(tmp_path / "run", task, model, patch)
    written = export_bundle(tmp_path / "run", tmp_path / "mine")
    assert written.difference < 1e-5
    assert (written.network == "TorchScript") != network
    monkeypatch.chdir(tmp_path / "mine")  # as one runs a bundle; its scripts are found there
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    given = {"bundle_dir": str(tmp_path), "device": "cpu", "workflow_type": "inference"}
    if network:
        loaded = monai.bundle.load("mine", **given)
    else:
        loaded, told, _ = monai.bundle.load("mine", load_ts_module=True, **given)
        assert (
            told["classes"]
            == json.loads(Path("configs/metadata.json").read_text())["medssl"]["classes"]
        )
    patches = torch.randn(2, 1, *patch)
    with torch.no_grad():
        expected, found = net(patches), loaded.eval()(patches)
    scale = float(expected.abs().max())
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5 * scale)


def test_regions_that_overlap_stay_as_they_are(tmp_path: Path, finetuned_run: Runs) -> None:
    task = json.dumps({"name": "segmentation", "regions": {"whole": [1, 3], "core": [3]}})
    net = finetuned_run(tmp_path / "run", task=task)
    written = export_bundle(tmp_path / "run", tmp_path / "bundle")
    assert written.network == "TorchScript"  # MONAI's SegResNet has another head
    loaded = torch.jit.load(tmp_path / "bundle" / "models" / "model.ts")
    patches = torch.randn(2, 1, 16, 12, 8)
    with torch.no_grad():
        torch.testing.assert_close(loaded(patches), net(patches))


@pytest.mark.parametrize(
    ("task", "model", "patch", "told", "device"),
    [
        ("segmentation", RESENC, (8, 8, 8), {"temperature": "2.0"}, "cuda"),
        ("classification", VIT, (8, 16, 8), {}, "cuda"),
        ("segmentation", VIT, (8, 16, 8), {"test_time_flips": "[0, 2]"}, "cuda"),
        ("classification", SWIN, (32, 32, 64), {}, "cpu"),
    ],
)
def test_its_configs_choose_a_gpu_unless_the_networks_code_names_the_cpu(
    tmp_path: Path,
    finetuned_run: Runs,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    model: ModelConfig,
    patch: tuple[int, int, int],
    told: dict[str, str],
    device: str,
) -> None:
    finetuned_run(tmp_path / "run", task, model, patch, ("HU", "SUV"), **told)
    written = export_bundle(tmp_path / "run", tmp_path / "bundle")
    script = torch.jit.load(tmp_path / "bundle" / "models" / "model.ts")
    named = {str(place) for place in re.findall(r'torch\.device\("(\w+)"\)', all_code(script))}
    assert named == ({"cpu"} if device == "cpu" else set())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in written.configs:
        parser = monai.bundle.ConfigParser()
        parser.read_config(tmp_path / "bundle" / "configs" / name)
        assert parser.get_parsed_content("device") == torch.device(device)
    readme = (tmp_path / "bundle" / "docs" / "README.md").read_text()
    for text in (readme, "\n".join(written.lines())):
        assert ("on the CPU" in text) == (device == "cpu")


def all_code(script: torch.jit.ScriptModule) -> str:
    """What TorchScript shows of every part that has a forward pass."""
    return "\n".join(part.code for part in script.modules() if hasattr(part, "forward"))


def run_bundle(bundle: Path, scans: Path, out: Path) -> None:
    """What MONAI's command runs, in the bundle's folder."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    call = "import sys, monai.bundle as b; b.run(config_file='configs/inference.json', "
    call += "dataset_dir=sys.argv[1], output_dir=sys.argv[2])"
    # -m monai.bundle run, but for the package fire, which reads MONAI's command line.
    command = [sys.executable, "-W", "ignore", "-c", call, str(scans), str(out)]
    done = subprocess.run(command, cwd=bundle, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("units", ["HU", "arbitrary"])
def test_a_run_by_monai_segments_as_medssl_does(
    tmp_path: Path, finetuned_run: Runs, units: Units
) -> None:
    patch = (16, 32, 16)  # longer than the scan along one axis
    net = finetuned_run(tmp_path / "run", patch=patch, units=(units,), spacing_mm=SPACING)
    volume = scan(units)
    store, info = stored(tmp_path / "store", volume)
    config = PatchConfig(size=patch, spacing_mm=SPACING)
    reader = Reader(store, CacheConfig(gigabytes=0))
    expected = predict_mask(net, reader, (info,), config, (0, 1, 3))
    assert len(np.unique(expected)) > 1  # else any mask of one value would do

    (tmp_path / "scans").mkdir()
    nibabel.save(nibabel.Nifti1Image(volume.voxels, volume.affine), tmp_path / "scans" / "a.nii.gz")
    export_bundle(tmp_path / "run", tmp_path / "bundle")
    run_bundle(tmp_path / "bundle", tmp_path / "scans", tmp_path / "out")
    mask = nibabel.load(tmp_path / "out" / "a_mask.nii.gz")
    np.testing.assert_allclose(mask.affine, volume.affine, atol=1e-5)
    # At a tie, rounding decides.
    assert np.mean(mask.get_fdata() == expected) > 0.999


def test_a_run_by_monai_classifies_as_medssl_does(tmp_path: Path, finetuned_run: Runs) -> None:
    patch = (16, 12, 8)
    net = finetuned_run(tmp_path / "run", "classification", patch=patch, spacing_mm=SPACING)
    (tmp_path / "scans").mkdir()
    expected = []
    for number in range(2):
        volume = scan("HU", number)
        store, info = stored(tmp_path / f"store{number}", volume)
        crop = sample_volume(store, info, patch, SPACING, foreground_centre(info)).image
        with torch.no_grad():
            expected.append(torch.softmax(net(torch.from_numpy(crop)[None, None]), 1)[0].tolist())
        path = tmp_path / "scans" / f"{number}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(volume.voxels, volume.affine), path)
    export_bundle(tmp_path / "run", tmp_path / "bundle")
    run_bundle(tmp_path / "bundle", tmp_path / "scans", tmp_path / "out")
    rows = list(csv.reader((tmp_path / "out" / "probabilities.csv").open()))
    assert rows[0] == ["file", "benign", "malignant"]
    assert [row[0] for row in rows[1:]] == ["0.nii.gz", "1.nii.gz"]
    np.testing.assert_allclose(
        [[float(x) for x in row[1:]] for row in rows[1:]], expected, atol=1e-4
    )


def test_each_kind_of_units_has_a_config_and_nothing_is_written_over(
    tmp_path: Path, finetuned_run: Runs
) -> None:
    finetuned_run(tmp_path / "run", units=("SUV", "HU"))
    written = export_bundle(tmp_path / "run", tmp_path / "bundle")
    assert written.configs == ("inference.json", "inference_HU.json")
    for name, units in zip(written.configs, ("SUV", "HU"), strict=True):
        config = json.loads((tmp_path / "bundle" / "configs" / name).read_text())
        assert config["preprocessing"]["transforms"][1]["units"] == units
    for path in (tmp_path / "bundle").rglob("*.*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes()
    with pytest.raises(ConfigError, match="is there already"):
        export_bundle(tmp_path / "run", tmp_path / "bundle")
