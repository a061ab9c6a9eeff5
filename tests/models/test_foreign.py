"""Weights of other projects: their network with random weights, saved as they save, read by ours.

Each test compares what the two networks compute, not names alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import SegResNet, SwinUNETR, resnet18, resnet50
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import nn
from torch.nn import functional as F

from medssl.errors import CheckpointError
from medssl.models.build import build_encoder, build_segmenter
from medssl.models.config import model_from_json
from medssl.models.foreign import FORMATS, read_foreign
from medssl.models.weights import load_encoder, read_metadata, read_weights, weights_sha256

PATCH = (16, 16, 16)


def shaken(net: nn.Module) -> nn.Module:
    """Every parameter and statistic away from where it starts: zeros and ones hide mistakes."""
    torch.manual_seed(7)
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.randn_like(value).abs())
    return net.eval()


def our_segmenter(path: Path, classes: int, channels: int = 1, patch: Any = PATCH) -> nn.Module:
    """The network that the file describes, with its weights and its head."""
    config = model_from_json(read_metadata(path)["model"])
    net = build_segmenter(config, channels, classes, patch)
    report = load_encoder(path, net)
    assert report.share == 1
    assert not [name for name in report.missing if not name.startswith("head.")]
    head = {k.removeprefix("head."): v for k, v in read_weights(path).items() if "head." in k[:5]}
    net.head.load_state_dict(head)
    return net.eval()


def monai_segresnet(**changes: Any) -> nn.Module:
    settings: dict[str, Any] = {
        "spatial_dims": 3,
        "init_filters": 8,
        "in_channels": 2,
        "out_channels": 3,
        "blocks_down": (1, 2, 1),
        "blocks_up": (2, 2),
    }
    return shaken(SegResNet(**{**settings, **changes}))


def bundle(folder: Path, net: nn.Module, network_def: dict[str, Any]) -> Path:
    """The files of a MONAI bundle that matter here."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(
        json.dumps({"imports": ["$import glob"], "network_def": network_def})
    )
    torch.save(net.state_dict(), folder / "models" / "model.pt")
    return folder / "models" / "model.pt"


def test_segresnet_of_monai_answers_alike(tmp_path: Path) -> None:
    theirs = monai_segresnet()
    path = tmp_path / "model.pt"
    torch.save(theirs.state_dict(), path)
    x = torch.randn(2, 2, *PATCH)
    ours = our_segmenter(path, classes=3, channels=2)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)
    assert read_metadata(path)["format"] == "MONAI SegResNet"


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "network_weights"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "net."])
def test_wrappers_of_training_scripts_are_looked_through(
    tmp_path: Path, wrapper: str, prefix: str
) -> None:
    theirs = monai_segresnet()
    state = {prefix + name: tensor for name, tensor in theirs.state_dict().items()}
    path = tmp_path / "checkpoint.pth"
    torch.save({wrapper: state, "epoch": 3, "optimizer": {"lr": 0.1}}, path)
    bare = tmp_path / "bare.pt"
    torch.save(theirs.state_dict(), bare)
    assert weights_sha256(read_weights(path)) == weights_sha256(read_weights(bare))


def test_a_bundle_is_read_where_its_hidden_settings_are_ours(tmp_path: Path) -> None:
    theirs = monai_segresnet()
    same = {"_target_": "SegResNet", "norm": ["group", {"num_groups": 8}], "act": "@activation"}
    path = bundle(tmp_path / "same", theirs, same)
    assert read_foreign(path).format.name == "MONAI SegResNet"
    other = {"_target_": "SegResNet", "norm": ["instance", {"affine": True}]}
    path = bundle(tmp_path / "other", theirs, other)
    with pytest.raises(CheckpointError, match=r"bundle sets norm to .*INSTANCE.*something else"):
        read_foreign(path)


def test_other_input_channels_are_fitted(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    theirs = monai_segresnet(in_channels=4)
    torch.save(theirs.state_dict(), path)
    config = model_from_json(read_metadata(path)["model"])
    ours = build_encoder(config, 1, PATCH).eval()
    report = load_encoder(path, ours)
    assert report.adapted == ("encoder.stem.weight",)
    assert report.lines()[0] == "weights of MONAI SegResNet"
    x = torch.randn(1, 1, *PATCH)
    deepest = theirs.encode(x.repeat(1, 4, 1, 1, 1))[0]
    assert torch.allclose(ours.features(x)[-1], deepest, atol=1e-5)


def test_an_unknown_file_is_told_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(CheckpointError) as raised:
        read_weights(path)
    assert "its first tensor is weight" in str(raised.value)
    for format_ in FORMATS:
        assert format_.name in str(raised.value)


def test_a_known_network_that_medssl_lacks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "primus.pth"
    torch.save({"network_weights": {"eva.pos_embed": torch.zeros(1, 8, 4)}}, path)
    with pytest.raises(CheckpointError, match="Primus"):
        read_weights(path)


class Trap:
    """An object whose pickle would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must never be printed",))


def test_nothing_in_a_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trap.pt"
    torch.save({"state_dict": monai_segresnet().state_dict(), "args": Trap()}, path)
    with pytest.raises(CheckpointError, match="could run code"):
        read_weights(path)
    assert capsys.readouterr().out == ""


def test_numbers_of_numpy_beside_the_weights_do_no_harm(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "best.pt"
    beside = {"best_acc": np.float64(0.8), "epoch": np.int64(3), "loss": np.float32(1)}
    torch.save({"state_dict": monai_segresnet().state_dict(), **beside}, path)
    assert "encoder.stem.weight" in read_weights(path)


def test_programs_damaged_and_empty_files_are_told_apart(tmp_path: Path) -> None:
    program = tmp_path / "model.ts"
    torch.jit.script(nn.Linear(2, 2)).save(program)
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_weights(program)
    damaged = tmp_path / "damaged.pt"
    torch.save(monai_segresnet().state_dict(), damaged)
    damaged.write_bytes(damaged.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"damaged|no file of torch"):
        read_weights(damaged)
    empty = tmp_path / "empty.pt"
    torch.save({"epoch": 3}, empty)
    with pytest.raises(CheckpointError, match="no weights that are found by name, but epoch"):
        read_weights(empty)
    with pytest.raises(CheckpointError, match="no weights at"):
        read_weights(tmp_path / "missing.pt")


def test_a_two_dimensional_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flat.pt"
    torch.save(monai_segresnet(spatial_dims=2).state_dict(), path)
    with pytest.raises(CheckpointError, match="first convolution is 2D"):
        read_weights(path)


def test_metadata_follows_the_file_and_not_its_name(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(monai_segresnet().state_dict(), path)
    first = read_metadata(path)
    torch.save(monai_segresnet(init_filters=16).state_dict(), path)
    assert read_metadata(path)["model"] != first["model"]
    assert read_metadata(path)["weights_sha256"] == weights_sha256(read_weights(path))


def unet_of_nnunet(strides: Any, classes: int = 3, **changes: Any) -> nn.Module:
    """A residual-encoder U-Net as nnU-Net builds it, with three stages."""
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    settings: dict[str, Any] = {
        "input_channels": 1,
        "n_stages": 3,
        "features_per_stage": [4, 8, 12],
        "conv_op": nn.Conv3d,
        "kernel_sizes": [[3, 3, 3]] * 3,
        "strides": strides,
        "n_blocks_per_stage": [1, 2, 1],
        "num_classes": classes,
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": False,
    }
    return shaken(ResidualEncoderUNet(**{**settings, **changes}))


def saved_by_nnunet(path: Path, net: nn.Module, transpose: list[int], strides: Any) -> Path:
    """The entries of nnU-Net's own checkpoints that hold more than numbers."""
    import numpy as np

    architecture = {
        "network_class_name": "ResidualEncoderUNet",
        "arch_kwargs": {"strides": strides},
    }
    plans = {
        "transpose_forward": transpose,
        "configurations": {"3d_fullres": {"architecture": architecture}},
    }
    checkpoint = {
        "network_weights": net.state_dict(),
        "_best_ema": np.float64(0.5),
        "current_epoch": 3,
        "logging": {"mean_fg_dice": [np.float64(0.5)]},
        "init_args": {
            "plans": plans,
            "configuration": "3d_fullres",
            "fold": 0,
            "device": torch.device("cpu"),
        },
        "trainer_name": "nnUNetTrainer",
    }
    torch.save(checkpoint, path)
    return path


def as_nnunet_sees(x: torch.Tensor, transpose: list[int]) -> torch.Tensor:
    """(right, front, top) as SimpleITK reads it, (z, y, x), and then by the plan."""
    read = x.permute(0, 1, 4, 3, 2)
    return read.permute(0, 1, *(2 + axis for axis in transpose))


@pytest.mark.parametrize("transpose", [[0, 1, 2], [1, 0, 2], [2, 0, 1]])
@pytest.mark.parametrize(
    "strides", [[[1, 1, 1], [1, 2, 2], [2, 2, 1]], [[1, 1, 1]] + [[2, 2, 2]] * 2]
)
def test_resenc_of_nnunet_answers_alike_in_its_own_axes(
    tmp_path: Path, transpose: list[int], strides: Any
) -> None:
    theirs = unet_of_nnunet(strides)
    path = saved_by_nnunet(tmp_path / "checkpoint_final.pth", theirs, transpose, strides)
    ours = our_segmenter(path, classes=3)
    x = torch.randn(1, 1, 8, 12, 16)
    assert torch.allclose(
        as_nnunet_sees(ours(x), transpose), theirs(as_nnunet_sees(x, transpose)), atol=1e-5
    )
    assert read_metadata(path)["format"] == "nnU-Net ResEnc"


def test_the_encoder_alone_needs_the_plan_for_its_strides(tmp_path: Path) -> None:
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    net = unet_of_nnunet(strides)
    path = saved_by_nnunet(tmp_path / "checkpoint.pth", net, [0, 1, 2], strides)
    content = torch.load(path, weights_only=False)
    content["network_weights"] = {
        name: t for name, t in content["network_weights"].items() if name.startswith("encoder.")
    }
    torch.save(content, path)
    told = model_from_json(read_metadata(path)["model"])
    assert told.stage_strides == ((1, 1, 1), (2, 2, 1), (2, 2, 2))  # type: ignore[union-attr]
    del content["init_args"]
    torch.save(content, path)
    assert "model" not in read_metadata(path)
    assert load_encoder(path, build_encoder(told, 1, (8, 8, 8))).share == 1


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_checkpoint_of_nnssl_is_read_by_its_plan(tmp_path: Path, prefix: str) -> None:
    strides = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
    theirs = unet_of_nnunet(strides, classes=1)
    weights = {prefix + name: tensor for name, tensor in theirs.state_dict().items()}
    stem = f"{prefix}encoder.stem"
    plan = {
        "architecture_plans": {"arch_class_name": "ResidualEncoderUNet", "arch_kwargs": None},
        "pretrain_plan": {"transpose_forward": [0, 1, 2], "configurations": {}},
        "key_to_encoder": f"{prefix}encoder.stages",
        "key_to_stem": stem,
        "keys_to_in_proj": (f"{stem}.convs.0.conv", f"{stem}.convs.0.all_modules.0"),
    }
    path = tmp_path / "checkpoint_final.pth"
    torch.save({"network_weights": {**weights, "projector": torch.zeros(2)}, "citations": [],
                "nnssl_adaptation_plan": plan}, path)  # fmt: skip
    ours = our_segmenter(path, classes=1)
    x = torch.randn(1, 1, 8, 8, 8)
    flipped = [0, 1, 2]
    expected = theirs(as_nnunet_sees(x, flipped))
    assert torch.allclose(as_nnunet_sees(ours(x), flipped), expected, atol=1e-5)
    assert read_metadata(path)["format"] == "nnssl ResEnc (OpenMind)"


def test_anisotropic_kernels_and_plain_unets_are_refused(tmp_path: Path) -> None:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    flat = unet_of_nnunet(strides, kernel_sizes=[[1, 3, 3], [3, 3, 3], [3, 3, 3]])
    path = saved_by_nnunet(tmp_path / "flat.pth", flat, [0, 1, 2], strides)
    with pytest.raises(CheckpointError, match=r"kernels are .*\(1, 3, 3\)"):
        read_weights(path)
    plain = PlainConvUNet(1, 2, [4, 8], nn.Conv3d, 3, [1, 2], 1, 2, 1)
    torch.save({"network_weights": plain.state_dict()}, tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="PlainConvUNet"):
        read_weights(tmp_path / "plain.pth")


SWIN_PATCH = (32, 32, 64)


@pytest.mark.parametrize("wrapped", ["bundle", "btcv"])
def test_swinunetr_of_monai_answers_alike(tmp_path: Path, wrapped: str) -> None:
    theirs = shaken(SwinUNETR(in_channels=2, out_channels=3, feature_size=12))
    if wrapped == "bundle":
        definition = {"_target_": "SwinUNETR", "feature_size": 12, "use_checkpoint": True}
        path = bundle(tmp_path / "bundle", theirs, definition)
    else:
        path = tmp_path / "swin_unetr.base_5000ep_f48_lr2e-4_pretrained.pt"
        torch.save({"state_dict": theirs.state_dict(), "epoch": 4999, "best_acc": 0.8}, path)
    ours = our_segmenter(path, classes=3, channels=2, patch=SWIN_PATCH)
    x = torch.randn(1, 2, *SWIN_PATCH)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)
    assert read_metadata(path)["format"] == "MONAI SwinUNETR"


def published_swin(transformer: nn.Module) -> dict[str, torch.Tensor]:
    """The names of model_swinvit.pt: DataParallel's prefix, timm's names of the hidden layers."""
    renamed = {
        name.replace("mlp.linear", "mlp.fc"): tensor
        for name, tensor in transformer.state_dict().items()
    }
    heads = {"rotation_head.weight": torch.zeros(4, 8), "conv.weight": torch.zeros(8, 8, 1, 1, 1)}
    return {f"module.{name}": tensor for name, tensor in {**renamed, **heads}.items()}


def small_swin(**changes: Any) -> nn.Module:
    settings: dict[str, Any] = {
        "in_chans": 1,
        "embed_dim": 12,
        "window_size": (7, 7, 7),
        "patch_size": (2, 2, 2),
        "depths": (2, 2, 2, 2),
        "num_heads": (3, 6, 12, 24),
    }
    return shaken(SwinTransformer(**{**settings, **changes}))


def test_a_self_supervised_swin_transformer_is_read_under_its_old_names(tmp_path: Path) -> None:
    theirs = small_swin()
    path = tmp_path / "model_swinvit.pt"
    torch.save({"epoch": 9, "state_dict": published_swin(theirs), "optimizer": {}}, path)
    config = model_from_json(read_metadata(path)["model"])
    ours = build_segmenter(config, 1, 2, SWIN_PATCH).eval()
    fresh = {name: t.clone() for name, t in ours.decoder.state_dict().items()}
    report = load_encoder(path, ours)
    assert report.share == 1
    assert not [name for name in report.missing if name.startswith("encoder.")]
    assert {"rotation_head.weight", "conv.weight"} <= set(report.unexpected)
    assert report.fresh == ("decoder", "head")
    assert "decoder: not from the file, starts fresh" in report.lines()
    assert all(torch.equal(t, fresh[name]) for name, t in ours.decoder.state_dict().items())
    x = torch.randn(1, 1, *SWIN_PATCH)
    for mine, other in zip(ours.encoder.features(x), theirs(x), strict=True):
        assert torch.allclose(mine, other, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"use_v2": True},
        {"depths": (2, 2, 4, 2)},
        {"num_heads": (2, 6, 12, 24)},
        {"window_size": (5, 5, 5)},
    ],
)
def test_another_swin_transformer_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "swin.pt"
    torch.save(small_swin(**change).state_dict(), path)
    with pytest.raises(CheckpointError, match="this one differs"):
        read_weights(path)


def shaken_norms(net: nn.Module) -> nn.Module:
    """Norms away from where they start; shaking kernels too, fifty layers would overflow."""
    torch.manual_seed(7)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm3d):
            for value, centre in ((part.weight, 1), (part.running_var, 1), (part.bias, 0)):
                nn.init.uniform_(value, centre - 0.3, centre + 0.3)
            nn.init.uniform_(part.running_mean, -0.3, 0.3)
    return net.eval()


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (resnet18, {"shortcut_type": "A", "bias_downsample": True}),
        (resnet50, {"shortcut_type": "B", "bias_downsample": False}),
    ],
)
def test_medicalnet_answers_alike(tmp_path: Path, make: Any, settings: dict[str, Any]) -> None:
    made = make(n_input_channels=1, conv1_t_stride=2, feed_forward=False, **settings)
    theirs = shaken_norms(made)
    state = {f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}
    path = tmp_path / "resnet_23dataset.pth"
    # Its files are older than torch's zip format.
    saved = {"epoch": 1, "state_dict": {**state, "module.conv_seg.0.weight": torch.zeros(3)}}
    torch.save(saved, path, _use_new_zipfile_serialization=False)
    config = model_from_json(read_metadata(path)["model"])
    ours = build_encoder(config, 1, (33, 34, 40)).eval()
    report = load_encoder(path, ours)
    assert report.share == 1
    assert report.missing == ()
    assert report.unexpected == ("conv_seg.0.weight",)
    x = torch.randn(1, 1, 33, 34, 40)
    expected = theirs.layer1(theirs.maxpool(theirs.act(theirs.bn1(theirs.conv1(x)))))
    expected = theirs.layer4(theirs.layer3(theirs.layer2(expected)))
    scale = expected.abs().max()
    assert 0 < scale < torch.inf
    assert torch.allclose(ours.features(x)[-1] / scale, expected / scale, atol=1e-5)


def test_a_resnet_of_another_depth_is_refused(tmp_path: Path) -> None:
    state = resnet18(n_input_channels=1, feed_forward=False).state_dict()
    kept = {name: t for name, t in state.items() if not name.startswith("layer3.1.")}
    torch.save(kept, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"layers have \[2, 2, 1, 2\] blocks"):
        read_weights(tmp_path / "resnet.pth")


def genesis_weights(width: int) -> dict[str, torch.Tensor]:
    """Random weights under the names, and of the shapes, of Models Genesis' network."""
    torch.manual_seed(5)
    state: dict[str, torch.Tensor] = {}

    def convolution(name: str, channels: int, out: int) -> None:
        state[f"{name}.conv1.weight"] = torch.randn(out, channels, 3, 3, 3) / (27 * channels) ** 0.5
        state[f"{name}.conv1.bias"] = torch.randn(out) / 10
        for part in ("weight", "bias", "running_mean"):
            state[f"{name}.bn1.{part}"] = torch.randn(out) / 5 + (part == "weight")
        state[f"{name}.bn1.running_var"] = torch.rand(out) + 0.5
        state[f"{name}.bn1.num_batches_tracked"] = torch.tensor(3)

    channels = 1
    for level, size in enumerate((64, 128, 256, 512)):
        middle = width * 2**level
        convolution(f"down_tr{size}.ops.0", channels, middle)
        convolution(f"down_tr{size}.ops.1", middle, 2 * middle)
        channels = 2 * middle
    for size in (256, 128, 64):
        up = torch.randn(channels, channels, 2, 2, 2) / channels**0.5
        state |= {f"up_tr{size}.up_conv.weight": up, f"up_tr{size}.up_conv.bias": up[:, 0, 0, 0, 0]}
        convolution(f"up_tr{size}.ops.0", channels + channels // 2, channels // 2)
        convolution(f"up_tr{size}.ops.1", channels // 2, channels // 2)
        channels //= 2
    state["out_tr.final_conv.weight"] = torch.randn(1, channels, 1, 1, 1)
    state["out_tr.final_conv.bias"] = torch.randn(1)
    return state


def genesis_logits(state: dict[str, torch.Tensor], x: torch.Tensor, training: bool) -> torch.Tensor:
    """The network of Zhou et al. 2021, written out; logits before its sigmoid."""

    def convolved(x: torch.Tensor, name: str) -> torch.Tensor:
        for part in (f"{name}.ops.0", f"{name}.ops.1"):
            x = F.conv3d(x, state[f"{part}.conv1.weight"], state[f"{part}.conv1.bias"], padding=1)
            mean, var = state[f"{part}.bn1.running_mean"], state[f"{part}.bn1.running_var"]
            if training:
                mean = x.mean(dim=(0, 2, 3, 4))
                var = x.var(dim=(0, 2, 3, 4), unbiased=False)
            column = (None, slice(None), None, None, None)
            x = (x - mean[column]) / (var[column] + 1e-5).sqrt()
            x = x * state[f"{part}.bn1.weight"][column] + state[f"{part}.bn1.bias"][column]
            x = x.clamp(min=0)
        return x

    skips = []
    for size in (64, 128, 256):
        skips.append(convolved(x, f"down_tr{size}"))
        x = F.max_pool3d(skips[-1], 2)
    x = convolved(x, "down_tr512")
    for size in (256, 128, 64):
        name = f"up_tr{size}"
        weight, bias = state[f"{name}.up_conv.weight"], state[f"{name}.up_conv.bias"]
        x = torch.cat([F.conv_transpose3d(x, weight, bias, stride=2), skips.pop()], dim=1)
        x = convolved(x, name)
    return F.conv3d(x, state["out_tr.final_conv.weight"], state["out_tr.final_conv.bias"])


@pytest.mark.parametrize("training", [True, False])
def test_models_genesis_answers_alike(tmp_path: Path, training: bool) -> None:
    state = genesis_weights(width=3)
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    path = tmp_path / "Genesis_Chest_CT.pt"
    torch.save({"epoch": 5, "state_dict": wrapped, "optimizer_state_dict": {}}, path)
    ours = our_segmenter(path, classes=1).train(training)
    x = torch.randn(2, 1, 8, 16, 24)
    expected = genesis_logits(state, x, training)
    with torch.no_grad():
        assert torch.allclose(ours(x), expected, atol=1e-4 * float(expected.abs().max()))


def test_every_format_names_a_network_of_medssl() -> None:
    from typing import get_args

    from medssl.models.config import ModelConfig

    (union, _) = get_args(ModelConfig)
    known = {config.model_fields["name"].default for config in get_args(union)}
    assert {format_.network for format_ in FORMATS} <= known
    page = Path(__file__).parents[2] / "docs" / "how-to" / "load-weights.md"
    for format_ in FORMATS:
        assert f"| {format_.name} |" in page.read_text()
