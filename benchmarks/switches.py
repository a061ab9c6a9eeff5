"""A training step under the switches of RuntimeConfig, against fp32 without any.

    python benchmarks/switches.py [--model resenc segresnet vit] [--side 64] [--only SWITCHES ...]

Segmenters on made-up patches: forward, backward, AdamW. The switches take turns, so that whatever
else the machine does meets all of them. The last line is one JSON object of ratios: how many times
as fast as fp32 a step is (medians), and on a GPU its peak memory as a share of fp32's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from medssl.engine.config import RuntimeConfig
from medssl.engine.execution import set_up
from medssl.engine.loop import default_device
from medssl.engine.precision import autocast
from medssl.models.build import build_segmenter
from medssl.models.config import model_from_json

_WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", nargs="+", default=["resenc", "segresnet", "vit"])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--only", nargs="+", help="fp32 and these switches alone")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    switches = {
        "fp32": {"precision": "fp32"},
        "fp32 channels_last": {"precision": "fp32", "channels_last": True},
        "bf16": {"precision": "bf16"},
        "bf16 channels_last": {"precision": "bf16", "channels_last": True},
        "bf16 channels_last checkpointing": {
            "precision": "bf16", "channels_last": True, "activation_checkpointing": True,
        },
    }  # fmt: skip
    if chosen.compile:
        switches["bf16 compile"] = {"precision": "bf16", "compile": True}
        switches["bf16 channels_last compile"] = {
            "precision": "bf16", "channels_last": True, "compile": True,
        }  # fmt: skip
    if chosen.only:
        switches = {name: switches[name] for name in ["fp32", *chosen.only]}
    ratios = {}
    for model in chosen.model:
        steps = {
            name: stepper(model, chosen.side, chosen.batch, RuntimeConfig(**options))
            for name, options in switches.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        peaks: dict[str, int] = {}
        for number in range(_WARM_UP + chosen.steps):
            for name, step in steps.items():
                taken, peaks[name] = step()
                if number >= _WARM_UP:
                    seconds[name].append(taken)
        medians = {name: statistics.median(taken) for name, taken in seconds.items()}
        for name, median in medians.items():
            ratio = medians["fp32"] / median
            ratios[f"{model}/{name}"] = round(ratio, 2)
            shown = f"{model:12} {name:34} {median:8.3f} s {ratio:6.2f} x fp32"
            if peaks["fp32"]:
                ratios[f"{model}/{name}/memory"] = round(peaks[name] / peaks["fp32"], 2)
                shown += f" {peaks[name] / 1e9:6.2f} GB"
            print(shown, flush=True)
    print(json.dumps(ratios))


def stepper(
    model: str, side: int, batch: int, runtime: RuntimeConfig
) -> Callable[[], tuple[float, int]]:
    """A function that takes one step: seconds, and on a GPU the most bytes that it had at once."""
    device = default_device()
    torch.manual_seed(0)
    network = build_segmenter(
        model_from_json(json.dumps({"name": model})), 1, 2, (side, side, side)
    )
    network.to(device)
    set_up(network, runtime)
    optimiser = torch.optim.AdamW(network.parameters())
    patches = torch.randn((batch, 1, side, side, side), device=device)

    def step() -> tuple[float, int]:
        wait(device, reset=True)
        began = clock(device)
        with autocast(runtime.precision, device):
            loss = network(patches).float().square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        peak = wait(device)
        return clock(device) - began, peak

    return step


def clock(device: torch.device) -> float:
    """Seconds; on the CPU those of this process alone, which others do not lengthen much."""
    return time.perf_counter() if device.type == "cuda" else time.process_time()


def wait(device: torch.device, reset: bool = False) -> int:
    """Until the GPU has done its work; its peak bytes so far."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize()
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.max_memory_allocated()


if __name__ == "__main__":
    main()
