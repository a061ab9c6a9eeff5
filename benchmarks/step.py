"""A training step, beside the networks that people use: python benchmarks/step.py

Masked autoencoding of a vision transformer beside MONAI's MaskedAutoEncoderViT (as it comes, and
with our light decoder) and ViTAutoEnc, of a residual-encoder U-Net beside nnssl's step (rebuilt
from its published settings on the same network), and a contrastive step in float32 and bfloat16.
Forward, backward, clipping and the optimiser on patches that are there already. Every side is a
process of its own with two threads; they run in turn, and the median of all rounds counts. FLOPs
are those that torch counts, with attention's added where it counts none; the peak is that of a
matrix product of 2048 in the same process and type.
Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from measure import SideFailed, run_side, show
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_THREADS = 2
_MATMUL = 2048
_RESENC_L = {
    "features_per_stage": (32, 64, 128, 256, 320, 320),
    "n_blocks_per_stage": (1, 3, 4, 6, 6, 6),
}


@dataclass(frozen=True)
class Job:
    """What one side does in a step: `loss()` on its own batch of `samples` patches."""

    module: nn.Module
    loss: Callable[[], Tensor]
    optimiser: torch.optim.Optimizer
    clip: float
    samples: int


@dataclass(frozen=True)
class Side:
    """A name for the table, what makes the job, and the type that it computes in."""

    name: str
    make: Callable[[], Job]
    bf16: bool = False
    channels_last: bool = False


def main() -> None:
    options = _options()
    if options.side is not None:
        print(json.dumps(_measure(SIDES[options.side], options.steps)))
        return
    chosen = [number for number, side in enumerate(SIDES) if options.only in side.name]
    answers: dict[int, list[dict[str, float]]] = {number: [] for number in chosen}
    for round_ in range(options.rounds):
        for number in chosen:
            print(f"round {round_ + 1}: {_title(SIDES[number])}", file=sys.stderr, flush=True)
            arguments = ["--side", str(number), "--steps", str(options.steps)]
            try:
                answers[number].append(run_side("step.py", arguments, cores=_THREADS))
            except SideFailed as failed:
                print(f"{_title(SIDES[number])} FAILED: {failed}")
    medians = {
        _title(SIDES[number]): {
            key: statistics.median(one[key] for one in given) for key in given[0]
        }
        for number, given in answers.items()
        if given
    }
    _show(medians)


# --- the sides ------------------------------------------------------------------------------------


def _patches(batch: int, views: int, size: int) -> Tensor:
    return torch.randn(
        batch, views, 1, size, size, size, generator=torch.Generator().manual_seed(0)
    )


def _ours(method: dict[str, Any], model: dict[str, Any], size: int, batch: int, views: int) -> Job:
    from medssl.engine.config import PretrainConfig
    from medssl.methods.catalogue import METHODS

    side = (size, size, size)
    config = PretrainConfig.model_validate(
        {"store": ".", "method": method, "model": model, "augment": {"patch": {"size": side}}}
    )
    made = METHODS[config.method.name](config.method, config.model, 1, side, 0)
    image = _patches(batch, views, size)
    given = {
        "image": image,
        "valid": torch.ones_like(image, dtype=torch.bool),
        "index": torch.arange(batch),
        "patient": torch.arange(batch),
    }
    optimiser = torch.optim.AdamW(made.parameters(), lr=1e-4)
    return Job(made, lambda: made(given, 0)["loss"], optimiser, 5.0, batch)


def _vit(dim: int, heads: int, token: int) -> dict[str, Any]:
    return {"name": "vit", "token_size": token, "dim": dim, "depth": 12, "heads": heads}


def _monai_mae(dim: int, heads: int, token: int, size: int, batch: int, light: bool = False) -> Job:
    from monai.networks.nets import MaskedAutoEncoderViT

    decoder = {
        "decoder_hidden_size": dim // 2,
        "decoder_mlp_dim": dim * 2,
        "decoder_num_layers": 2,
        "decoder_num_heads": heads,
    }
    net = MaskedAutoEncoderViT(
        1,
        size,
        token,
        hidden_size=dim,
        mlp_dim=4 * dim,
        num_heads=heads,
        **(decoder if light else {}),
    )
    image = _patches(batch, 1, size)[:, 0]
    grid = size // token
    tokens = image.reshape(batch, grid, token, grid, token, grid, token)
    target = tokens.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, grid**3, token**3)

    def loss() -> Tensor:
        predicted, mask = net(image)
        error = (predicted.float() - target).square().mean(dim=2)
        return (error * mask).sum() / mask.sum()

    return Job(net, loss, torch.optim.AdamW(net.parameters(), lr=1e-4), 5.0, batch)


def _monai_autoencoder(dim: int, heads: int, token: int, size: int, batch: int) -> Job:
    """As MONAI's own tutorial trains it: two views, L1 each, and a contrast of their codes."""
    from monai.losses import ContrastiveLoss
    from monai.networks.nets import ViTAutoEnc

    net = ViTAutoEnc(1, size, token, hidden_size=dim, mlp_dim=4 * dim, num_heads=heads)
    first, second = _patches(batch, 2, size).unbind(1)
    contrast = ContrastiveLoss(temperature=0.05)

    def loss() -> Tensor:
        (one, codes), (other, others) = net(first), net(second)
        rebuilt = (one - first).abs().mean() + (other - second).abs().mean()
        contrasted: Tensor = contrast(codes[-1].flatten(1).float(), others[-1].flatten(1).float())
        return rebuilt + contrasted * rebuilt.detach()

    return Job(net, loss, torch.optim.AdamW(net.parameters(), lr=1e-4), 5.0, batch)


def _nnssl_mae(size: int, batch: int) -> Job:
    """nnssl's masked autoencoder: masked blocks are zero, L2 on them, SGD with momentum 0.99."""
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    net = ResidualEncoderUNet(
        1,
        6,
        _RESENC_L["features_per_stage"],
        nn.Conv3d,
        3,
        (1, 2, 2, 2, 2, 2),
        _RESENC_L["n_blocks_per_stage"],
        1,
        (1, 1, 1, 1, 1),
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )
    image = _patches(batch, 1, size)[:, 0]

    def loss() -> Tensor:
        blocks = (torch.rand(batch, 1, *(size // 16,) * 3) < 0.75).float()
        hidden = F.interpolate(blocks, scale_factor=16)
        rebuilt = net(image * (1 - hidden)).float()
        return ((rebuilt - image).square() * hidden).sum() / hidden.sum()

    optimiser = torch.optim.SGD(
        net.parameters(), lr=1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5
    )
    return Job(net, loss, optimiser, 12.0, batch)


_SIMCLR = partial(
    _ours, {"name": "simclr"}, {"name": "resnet", "depth": 18}, size=64, batch=4, views=2
)
_OUR_RESENC = partial(
    _ours, {"name": "mae", "block_size": 16}, {"name": "resenc", **_RESENC_L}, 64, 1, 1
)
_OUR_S8 = partial(_ours, {"name": "mae"}, _vit(384, 6, 8), 96, 2, 1)
_OUR_B16 = partial(_ours, {"name": "mae"}, _vit(768, 12, 16), 96, 4, 1)

SIDES = (
    Side("S/8 medssl mae", _OUR_S8),
    Side("S/8 medssl mae", _OUR_S8, bf16=True),
    Side("S/8 MONAI MaskedAutoEncoderViT", partial(_monai_mae, 384, 6, 8, 96, 2)),
    Side("S/8 MONAI MaskedAutoEncoderViT", partial(_monai_mae, 384, 6, 8, 96, 2), bf16=True),
    Side("S/8 MONAI, our decoder", partial(_monai_mae, 384, 6, 8, 96, 2, light=True)),
    Side("S/16 medssl mae", partial(_ours, {"name": "mae"}, _vit(384, 6, 16), 96, 4, 1)),
    Side("S/16 MONAI ViTAutoEnc, two views", partial(_monai_autoencoder, 384, 6, 16, 96, 4)),
    Side("B/16 medssl mae", _OUR_B16),
    Side("B/16 medssl mae", _OUR_B16, bf16=True),
    Side("B/16 MONAI MaskedAutoEncoderViT", partial(_monai_mae, 768, 12, 16, 96, 4)),
    Side("ResEnc-L medssl mae", _OUR_RESENC),
    Side("ResEnc-L medssl mae", _OUR_RESENC, bf16=True, channels_last=True),
    Side("ResEnc-L nnssl MAE, rebuilt", partial(_nnssl_mae, 64, 1)),
    Side("ResNet-18 medssl simclr", _SIMCLR),
    Side("ResNet-18 medssl simclr", _SIMCLR, bf16=True),
    Side("ResNet-18 medssl simclr", _SIMCLR, bf16=True, channels_last=True),
)


# --- measuring ------------------------------------------------------------------------------------


def _measure(side: Side, steps: int) -> dict[str, float]:
    torch.set_num_threads(_THREADS)
    torch.manual_seed(0)
    job = side.make()
    if side.channels_last:
        for module in job.module.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                module.to(memory_format=torch.channels_last_3d)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=side.bf16):
            loss = job.loss()
        job.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(job.module.parameters(), job.clip)
        job.optimiser.step()

    flops = _flops(step)
    step()
    seconds = [_seconds(step) for _ in range(steps)]
    peak = _matmul_peak(torch.bfloat16 if side.bf16 else torch.float32)
    a_step = statistics.median(seconds)
    return {
        "ms_a_sample": 1000 * a_step / job.samples,
        "gflop_a_sample": flops / 1e9 / job.samples,
        "share_of_peak": flops / a_step / peak,
        "peak_gflops": peak / 1e9,
    }


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _matmul_peak(kind: torch.dtype) -> float:
    """FLOPs a second of the fastest of some matrix products."""
    a, b = (torch.randn(_MATMUL, _MATMUL).to(kind) for _ in range(2))
    return 2 * _MATMUL**3 / min(_seconds(lambda: a @ b) for _ in range(10))


def _flops(step: Callable[[], None]) -> int:
    with FlopCounterMode(display=False) as probe:
        F.scaled_dot_product_attention(*torch.randn(3, 1, 1, 4, 4).unbind(0))
    attention = _Attention()
    with (
        FlopCounterMode(display=False) as counter,
        patch.object(F, "scaled_dot_product_attention", attention),
    ):
        step()
    uncounted = attention.flops if probe.get_total_flops() == 0 else 0
    return int(counter.get_total_flops()) + uncounted


class _Attention:
    """Stands in for scaled_dot_product_attention and counts: forward, and twice that back."""

    def __init__(self) -> None:
        self.flops = 0
        self._attend = F.scaled_dot_product_attention

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any) -> Any:
        products = query.shape[-2] * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        self.flops += 3 * 2 * math.prod(query.shape[:-2]) * products
        return self._attend(query, key, value, *rest, **named)


# --- the answer -----------------------------------------------------------------------------------


def _title(side: Side) -> str:
    kind = "bf16" if side.bf16 else "fp32"
    return f"{side.name}, {kind}{', channels last' if side.channels_last else ''}"


def _show(medians: dict[str, dict[str, float]]) -> None:
    heads = ["a training step", "ms a sample", "GFLOP a sample", "share of peak", "peak MB"]
    rows = [
        [
            title,
            f"{found['ms_a_sample']:.0f}",
            f"{found['gflop_a_sample']:.0f}",
            f"{found['share_of_peak']:.0%} of {found['peak_gflops']:.0f}",
            f"{found['peak_mb']:.0f}",
        ]
        for title, found in medians.items()
    ]
    show(heads, rows)
    ratios = {}
    for name, (ours, theirs) in RATIOS.items():
        if ours in medians and theirs in medians:
            ratios[name] = medians[theirs]["ms_a_sample"] / medians[ours]["ms_a_sample"]
            ratios[f"{name}_memory"] = medians[ours]["peak_mb"] / medians[theirs]["peak_mb"]
    print(json.dumps({name: round(value, 2) for name, value in ratios.items()}))


RATIOS = {
    "s8_vs_monai": ("S/8 medssl mae, fp32", "S/8 MONAI MaskedAutoEncoderViT, fp32"),
    "s8_bf16_vs_monai": ("S/8 medssl mae, bf16", "S/8 MONAI MaskedAutoEncoderViT, fp32"),
    "s8_vs_monai_our_decoder": ("S/8 medssl mae, fp32", "S/8 MONAI, our decoder, fp32"),
    "s16_vs_autoencoder": ("S/16 medssl mae, fp32", "S/16 MONAI ViTAutoEnc, two views, fp32"),
    "b16_vs_monai": ("B/16 medssl mae, fp32", "B/16 MONAI MaskedAutoEncoderViT, fp32"),
    "resenc_vs_nnssl": ("ResEnc-L medssl mae, fp32", "ResEnc-L nnssl MAE, rebuilt, fp32"),
    "resenc_bf16_vs_nnssl": (
        "ResEnc-L medssl mae, bf16, channels last",
        "ResEnc-L nnssl MAE, rebuilt, fp32",
    ),
    "conv_bf16": (
        "ResNet-18 medssl simclr, bf16, channels last",
        "ResNet-18 medssl simclr, fp32",
    ),
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often every side runs")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a run")
    parser.add_argument("--only", default="", help="sides whose name contains this")
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
