"""An exported ResEnc in nnU-Net: its network, its rule of loading, its plans and its commands."""

from __future__ import annotations

import importlib.util
import json
import os
import pydoc
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import yaml
from torch import nn

from medssl.augment.normalise import Normaliser
from medssl.errors import CheckpointError, ConfigError
from medssl.export.nnunet import export_nnunet
from medssl.models.build import build_segmenter
from medssl.models.config import ModelConfig, ResEncConfig, SegResNetConfig
from medssl.models.weights import load_encoder, save_weights

PATCH = (16, 8, 8)
SPACING = [1.0, 1.5, 3.0]
MODEL = ResEncConfig(
    features_per_stage=(4, 8, 8), n_blocks_per_stage=(1, 2, 1), strides=(1, 2, (2, 2, 1))
)

needs_nnunet = pytest.mark.skipif(
    importlib.util.find_spec("nnunetv2") is None,
    reason="nnunetv2 is not installed: pip install nnunetv2, in an environment of its own",
)


def pretrained(
    folder: Path, config: ModelConfig = MODEL, parts: tuple[str, ...] = ("encoder.", "decoder.")
) -> nn.Module:
    """A finished run in `folder`, with a network away from where it starts; and that network."""
    torch.manual_seed(3)
    net = build_segmenter(config, 1, 3, PATCH)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.1 * torch.randn_like(value))
    state = {name: t for name, t in net.state_dict().items() if name.startswith(parts)}
    about = {
        "model": config.model_dump_json(),
        "in_channels": "1",
        "patch_size": json.dumps(PATCH),
        "method": "mae",
    }
    save_weights(folder / "checkpoints" / "encoder.safetensors", state, about)
    patch = {"size": list(PATCH), "spacing_mm": SPACING}
    (folder / "config.yaml").write_text(yaml.safe_dump({"augment": {"patch": patch}}))
    return net.eval()


def planned(folder: Path, transpose: tuple[int, ...] = (0, 1, 2), schemes: str = "Z") -> Path:
    """The entries of a plan by nnU-Net that matter here."""
    scheme = {"Z": "ZScoreNormalization", "C": "CTNormalization"}
    measured = {"mean": 50.0, "std": 80.0, "percentile_00_5": -500.0, "percentile_99_5": 300.0}
    plans = {
        "dataset_name": "Dataset042_X",
        "plans_name": "nnUNetResEncUNetMPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(transpose),
        "configurations": {
            "2d": {"spacing": [1.0, 1.0]},
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "batch_size": 2,
                "patch_size": [64, 64, 64],
                "spacing": [1.5, 1.0, 1.0],
                "median_image_size_in_voxels": [20.0, 60.0, 40.0],
                "normalization_schemes": [scheme[letter] for letter in schemes],
                "architecture": {"network_class_name": "other"},
            },
        },
        "foreground_intensity_properties_per_channel": {
            str(i): dict(measured) for i in range(len(schemes))
        },
    }
    path = folder / "Dataset042_X" / "nnUNetResEncUNetMPlans.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(plans))
    return path


def network_of(architecture: dict[str, Any], classes: int, channels: int = 1) -> nn.Module:
    """The network that a plan describes, as nnU-Net makes it of the plan."""
    settings = dict(architecture["arch_kwargs"])
    for name in architecture["_kw_requires_import"]:
        settings[name] = settings[name] and pydoc.locate(settings[name])
    made: Any = pydoc.locate(architecture["network_class_name"])
    net: nn.Module = made(
        input_channels=channels, num_classes=classes, deep_supervision=False, **settings
    )
    return net.eval()


def loaded_as_nnunet_does(net: nn.Module, checkpoint: Path) -> None:
    """Every tensor but segmentation layers has to be there, of the same shape."""
    theirs = torch.load(checkpoint, weights_only=True)["network_weights"]
    wanted = {n: t.shape for n, t in net.state_dict().items() if ".seg_layers." not in n}
    assert {name: theirs[name].shape for name in wanted} == wanted
    net.load_state_dict({n: theirs[n] for n in wanted}, strict=False)


@pytest.mark.parametrize("transpose", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_nnunets_network_computes_what_ours_does(
    tmp_path: Path, transpose: tuple[int, ...]
) -> None:
    net: Any = pretrained(tmp_path / "run")
    result = export_nnunet(tmp_path / "run", tmp_path / "enc.pth", planned(tmp_path, transpose))
    assert result.plans == tmp_path / "Dataset042_X" / "medssl_enc.json"
    plan = json.loads(result.plans.read_text())["configurations"]["3d_fullres"]
    theirs: Any = network_of(plan["architecture"], classes=3)
    loaded_as_nnunet_does(theirs, result.checkpoint)
    x = torch.randn(2, 1, *PATCH)
    # SimpleITK reads (right, front, top) as (z, y, x); then comes the plan's transposition.
    seen = x.permute(0, 1, 4, 3, 2).permute(0, 1, *(2 + axis for axis in transpose))
    assert list(seen.shape[2:]) == plan["patch_size"]
    ours = net.decoder(x, net.encoder.features(x))
    skips = theirs.encoder(seen)
    up = skips[-1]
    for i, stage in enumerate(theirs.decoder.stages):
        up = stage(torch.cat([theirs.decoder.transpconvs[i](up), skips[-2 - i]], dim=1))
    turned = ours.permute(0, 1, 4, 3, 2).permute(0, 1, *(2 + axis for axis in transpose))
    assert torch.allclose(turned, up, atol=1e-5)
    millimetres = [SPACING[::-1][axis] for axis in transpose]
    assert plan["spacing"] == millimetres


def test_the_plan_is_the_targets_but_for_what_pretraining_decides(tmp_path: Path) -> None:
    pretrained(tmp_path / "run")
    given = planned(tmp_path)
    export_nnunet(tmp_path / "run", tmp_path / "enc.pth", given)
    old = json.loads(given.read_text())
    new = json.loads(given.with_name("medssl_enc.json").read_text())
    fullres = new["configurations"].pop("3d_fullres")
    assert new["plans_name"] == "medssl_enc"
    assert new["configurations"] == {}
    assert {k for k in old if old[k] != new[k]} == {"plans_name", "configurations"}
    before = old["configurations"]["3d_fullres"]
    changed = {k for k in before if before[k] != fullres[k]}
    assert changed == {
        "data_identifier",
        "patch_size",
        "spacing",
        "median_image_size_in_voxels",
        "architecture",
    }
    # 20 voxels of 1.5 mm are 10 of 3 mm.
    assert fullres["median_image_size_in_voxels"] == pytest.approx([10.0, 40.0, 40.0])


def test_ct_is_normalised_as_in_pretraining(tmp_path: Path) -> None:
    pretrained(tmp_path / "run")
    given = planned(tmp_path, schemes="CZ")
    export_nnunet(tmp_path / "run", tmp_path / "enc.pth", given)
    new = json.loads(given.with_name("medssl_enc.json").read_text())
    ct, other = (new["foreground_intensity_properties_per_channel"][c] for c in "01")
    hu = np.linspace(-2000, 3000, 101, dtype=np.float32)
    nnunets = (np.clip(hu, ct["percentile_00_5"], ct["percentile_99_5"]) - ct["mean"]) / ct["std"]
    ours = Normaliser.from_row({"units": "HU", "modality": "CT"})(hu)
    assert np.allclose(nnunets, ours, atol=1e-6)
    assert other["mean"] == 50.0


def test_more_channels_answer_alike_where_they_show_alike(tmp_path: Path) -> None:
    net: Any = pretrained(tmp_path / "run")
    given = planned(tmp_path, schemes="ZZ")
    export_nnunet(tmp_path / "run", tmp_path / "enc.pth", given)
    plan = json.loads(given.with_name("medssl_enc.json").read_text())["configurations"]
    theirs: Any = network_of(plan["3d_fullres"]["architecture"], classes=2, channels=2)
    loaded_as_nnunet_does(theirs, tmp_path / "enc.pth")
    x = torch.randn(1, 1, *PATCH)
    deepest = theirs.encoder(x.permute(0, 1, 4, 3, 2).repeat(1, 2, 1, 1, 1))[-1]
    assert torch.allclose(net.encoder.features(x)[-1].permute(0, 1, 4, 3, 2), deepest, atol=1e-5)


def test_the_adaptation_plan_finds_what_it_names(tmp_path: Path) -> None:
    pretrained(tmp_path / "run")
    result = export_nnunet(tmp_path / "run", tmp_path / "enc.pth")
    assert result.plans is None
    content = torch.load(tmp_path / "enc.pth", weights_only=True)
    plan, weights = content["nnssl_adaptation_plan"], content["network_weights"]
    architecture = plan["architecture_plans"]
    net = network_of(
        {
            "network_class_name": architecture["arch_class_name"],
            "arch_kwargs": architecture["arch_kwargs"],
            "_kw_requires_import": architecture["arch_kwargs_requiring_import"],
        },
        classes=2,
    )
    for key in ("key_to_encoder", "key_to_stem"):
        assert plan[key] == getattr(net, key)
        inner = {n[len(plan[key]) + 1 :]: t for n, t in weights.items() if n.startswith(plan[key])}
        net.get_submodule(plan[key]).load_state_dict(inner)
    assert set(plan["keys_to_in_proj"]) == set(net.keys_to_in_proj)  # type: ignore[arg-type]
    (configuration,) = plan["pretrain_plan"]["configurations"].values()
    assert configuration["spacing"] == SPACING[::-1]
    assert configuration["patch_size"] == list(PATCH[::-1])
    assert plan["pretrain_num_input_channels"] == 1


def test_what_is_exported_is_read_back_bit_by_bit(tmp_path: Path) -> None:
    net = pretrained(tmp_path / "run")
    export_nnunet(tmp_path / "run", tmp_path / "enc.pth", planned(tmp_path, (1, 0, 2)))
    again = build_segmenter(MODEL, 1, 3, PATCH)
    report = load_encoder(tmp_path / "enc.pth", again)
    assert report.source == "nnssl ResEnc (OpenMind)"
    own = net.state_dict()
    for name, tensor in again.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(tensor, own[name]), name


def test_a_decoder_that_was_not_trained_is_drawn_anew_and_alike_each_time(tmp_path: Path) -> None:
    pretrained(tmp_path / "run", parts=("encoder.",))
    given = planned(tmp_path)
    state = torch.random.get_rng_state()
    result = export_nnunet(tmp_path / "run", tmp_path / "enc.pth", given)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert "decoder new" in result.lines()[0]
    first = (tmp_path / "enc.pth").read_bytes()
    export_nnunet(tmp_path / "run", tmp_path / "enc.pth", given)
    assert (tmp_path / "enc.pth").read_bytes() == first
    theirs = network_of(
        json.loads(given.with_name("medssl_enc.json").read_text())["configurations"]["3d_fullres"][
            "architecture"
        ],
        classes=2,
    )
    loaded_as_nnunet_does(theirs, tmp_path / "enc.pth")


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    pretrained(tmp_path / "other", SegResNetConfig(init_filters=4, blocks_down=(1, 1)))
    with pytest.raises(ConfigError, match=r"is a segresnet.*model\.name: resenc"):
        export_nnunet(tmp_path / "other", tmp_path / "enc.pth")
    net = pretrained(tmp_path / "run")
    (tmp_path / "plans.json").write_text("{}")
    with pytest.raises(ConfigError, match="no plan of nnU-Net's with 3d_fullres"):
        export_nnunet(tmp_path / "run", tmp_path / "enc.pth", tmp_path / "plans.json")
    save_weights(tmp_path / "bare.safetensors", net.state_dict(), {})
    with pytest.raises(CheckpointError, match="does not say its network and patch"):
        export_nnunet(tmp_path / "bare.safetensors", tmp_path / "enc.pth")
    assert not (tmp_path / "enc.pth").exists()


@needs_nnunet
def test_nnunets_own_functions_take_plan_and_checkpoint(tmp_path: Path) -> None:
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    net = pretrained(tmp_path / "run")
    result = export_nnunet(tmp_path / "run", tmp_path / "enc.pth", planned(tmp_path))
    plan = PlansManager(str(result.plans)).get_configuration("3d_fullres")
    theirs = get_network_from_plans(
        plan.network_arch_class_name,
        plan.network_arch_init_kwargs,
        plan.network_arch_init_kwargs_req_import,
        1,
        5,
        deep_supervision=True,
    )
    load_pretrained_weights(theirs, str(result.checkpoint))
    state = theirs.state_dict()
    for name, tensor in net.state_dict().items():
        if not name.startswith("head."):
            turned = tensor.permute(0, 1, 4, 3, 2) if tensor.ndim == 5 else tensor
            assert torch.equal(state[name], turned), name


SHORT = """
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class Short(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cpu")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch = 1, 2
        self.num_val_iterations_per_epoch = 1

    def on_train_start(self):
        super().on_train_start()
        torch.save(self.network.state_dict(), "begun.pt")
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@needs_nnunet
def test_nnunets_commands_fine_tune_what_was_exported(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "Dataset042_Balls"
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for case in range(5):
        grid = np.stack(np.meshgrid(*(np.arange(n) for n in (24, 20, 16)), indexing="ij"))
        centre = rng.uniform(7, 10, 3)[:, None, None, None]
        ball = (((grid - centre) ** 2).sum(axis=0) < 25).astype(np.uint8)
        image = (ball * 3.0 + rng.normal(size=ball.shape)).astype(np.float32)
        for folder, values, end in (("imagesTr", image, "_0000"), ("labelsTr", ball, "")):
            file = raw / folder / f"case_{case}{end}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), file)
    about = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "ball": 1},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(about))
    (tmp_path / "ext").mkdir()
    (tmp_path / "ext" / "short.py").write_text(SHORT)

    def nnunet(command: str, *words: str) -> None:
        program = shutil.which(command, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert program, f"{command} is not on the path"
        ended = subprocess.run(
            [program, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "nnUNet_raw": str(tmp_path / "raw"),
                "nnUNet_preprocessed": str(tmp_path / "preprocessed"),
                "nnUNet_results": str(tmp_path / "results"),
                "nnUNet_extTrainer": str(tmp_path / "ext"),
                "nnUNet_n_proc_DA": "1" if command.endswith("experiment") else "0",
                "nnUNet_def_n_proc": "1",
                "nnUNet_compile": "f",
            },
        )
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]

    (tmp_path / "preprocessed").mkdir()
    nnunet("nnUNetv2_extract_fingerprint", "-d", "42", "-np", "1")
    nnunet("nnUNetv2_plan_experiment", "-d", "42", "-pl", "nnUNetPlannerResEncM")
    net = pretrained(tmp_path / "run")
    plans = tmp_path / "preprocessed" / raw.name / "nnUNetResEncUNetMPlans.json"
    result = export_nnunet(tmp_path / "run", tmp_path / "enc.pth", plans)
    nnunet(*result.lines()[2].split()[1:], "-np", "1")
    nnunet(*result.lines()[3].split(), "-tr", "Short", "-device", "cpu")
    begun = torch.load(tmp_path / "begun.pt", weights_only=True)
    for name, tensor in net.state_dict().items():
        if not name.startswith("head."):
            turned = tensor.permute(0, 1, 4, 3, 2) if tensor.ndim == 5 else tensor
            assert torch.equal(begun[name], turned), name
    (final,) = (tmp_path / "results").rglob("checkpoint_final.pth")
    assert load_encoder(final, build_segmenter(MODEL, 1, 2, PATCH)).share == 1
    (masks,) = (tmp_path / "results").rglob("validation")
    assert list(masks.glob("*.nii.gz"))
