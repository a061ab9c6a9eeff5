"""Augmented patches, beside the libraries that people use: python benchmarks/augment.py

From stored volumes to batches of four patches of 96^3, every transform on ("all") or with nnU-Net's
probabilities ("typical"), by one process or by two workers on two cores; and pairs of overlapping
views of 64^3. Every run is a process of its own whose libraries have one thread each; the runs of
all sides alternate, and the median counts. Peak memory is that of all processes of a side.
Needs the extra `bench`. Without --store, volumes of head-like MR are made.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import SideFailed, cpu_seconds, run_side, seconds_since_start, show

NUM_VOLUMES = 6
_WARM_BATCHES = 4
_CHANGED = 0.2

SIDES = {
    "medssl": "ours",
    "medssl, array code": "ours",
    "MONAI": "with_monai",
    "TorchIO": "with_torchio",
    "batchgeneratorsv2": "with_batchgenerators",
    "nnssl": "with_nnssl",
}
_MANY = ("medssl", "MONAI", "TorchIO", "batchgeneratorsv2")
_CROPS = ("medssl", "MONAI", "batchgeneratorsv2", "nnssl")


@dataclass(frozen=True)
class Setting:
    """One table: a case, how many workers draw ahead, and who takes part."""

    case: str
    workers: int
    sides: tuple[str, ...]

    @property
    def cores(self) -> int:
        """A training step has one of its own."""
        return max(1, self.workers) + (self.case == "step")


SETTINGS = {
    "all_1p": Setting("all", 0, (*_MANY[:1], "medssl, array code", *_MANY[1:])),
    "all_2w": Setting("all", 2, _MANY),
    "typical_1p": Setting("typical", 0, _MANY),
    "typical_2c": Setting("typical", 2, _MANY),
    "two_view": Setting("two_view", 0, _CROPS),
    "singles": Setting("all", 0, _MANY),
    "step": Setting("step", 1, ("medssl",)),
}


@dataclass
class Runs:
    """Answers of each round, and the fault where there was one."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    fault: str = ""

    def median(self, name: str) -> float:
        return statistics.median(answer[name] for answer in self.answers)


def main() -> None:
    options = _options()
    if options.side:
        print(json.dumps(_answer(options)))
        return
    with tempfile.TemporaryDirectory(dir=options.tmp, prefix="bench-augment-") as scratch:
        folder = Path(scratch)
        _prepare(folder, options)
        table = {name: {side: Runs() for side in SETTINGS[name].sides} for name in options.settings}
        for number in range(options.rounds):
            for name, sides in table.items():
                for side, runs in sides.items():
                    _say(f"round {number + 1} of {options.rounds}: {name}, {side}")
                    _run(name, side, folder, options.seconds, runs)
    _show(table, options)


# --- one side, in a process of its own ------------------------------------------------------------


def _answer(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from sides.job import Job

    torch.set_num_threads(1)
    setting = SETTINGS[options.settings[0]]
    job = Job(Path(options.folder), setting.case, setting.workers)
    side = importlib.import_module(f"sides.{SIDES[options.side]}")
    with _array_code(options.side == "medssl, array code"):
        if options.settings[0] == "singles":
            return _time_singles(side.singles(job), job, options.seconds)
        if options.settings[0] == "step":
            from sides.step import time_steps

            return time_steps(job, options.seconds)
        return _time_batches(side.batches(job), job, options.seconds)


@contextlib.contextmanager
def _array_code(switched: bool) -> Iterator[None]:
    from medssl import kernels

    with kernels.disabled() if switched else contextlib.nullcontext():
        yield


def _time_batches(batches: Iterator[Any], job: Any, seconds: float) -> dict[str, float]:
    """Patches (or pairs) a second once everything is warm, and seconds to the first batch.

    "cpu_ms" is what one costs on all cores together; a busy machine changes it little.
    """
    first = [view.clone() for view in _checked(next(batches), job)]
    to_first = seconds_since_start()
    for _ in range(_WARM_BATCHES):
        second = _checked(next(batches), job)
    assert not any((a == b).all() for a, b in zip(first, second, strict=True)), "twice the same"
    count, cpu = 0, cpu_seconds()
    began = time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        count += len(_checked(next(batches), job)[0])
    cpu_ms = 1000 * (cpu_seconds() - cpu) / count
    return {"rate": count / spent, "cpu_ms": cpu_ms, "first_s": to_first}


def _checked(batch: Any, job: Any) -> Any:
    import torch
    from sides.job import BATCH

    expected = (BATCH, 1, job.size, job.size, job.size)
    assert len(batch) == (2 if job.two_views else 1)
    for view in batch:
        assert tuple(view.shape) == expected, view.shape
        assert view.dtype == torch.float32, view.dtype
        assert bool(torch.isfinite(view[:, :, ::16, ::16, ::16]).all())
    return batch


def _time_singles(singles: dict[str, Any], job: Any, seconds: float) -> dict[str, float]:
    """Milliseconds of processor time that each transform takes, median."""
    import nibabel
    import torch

    values = nibabel.load(job.files("nifti")[0]).get_fdata(dtype="f4")
    starts = [(n - job.size) // 2 for n in values.shape]
    middle = values[tuple(slice(s, s + job.size) for s in starts)]
    patch = torch.from_numpy(middle.copy())[None]
    answer = {}
    for name, call in singles.items():
        times: list[float] = []
        changed = 0.0
        until = time.perf_counter() + seconds / len(singles)
        while len(times) < 5 or time.perf_counter() < until:
            given = patch.clone()
            began = time.process_time()
            result = call(given)
            times.append(time.process_time() - began)
            assert result.shape == patch.shape, (name, result.shape)
            if changed <= _CHANGED:  # a drawn zoom may be none
                changed = float(((result - patch).abs() > 1e-5).float().mean())
        assert changed > _CHANGED, f"{name} changed nothing"
        answer[name] = 1000 * statistics.median(times[2:])
    return answer


# --- all of them ----------------------------------------------------------------------------------


def _prepare(folder: Path, options: argparse.Namespace) -> None:
    from phantoms import export, make_store
    from sides.job import PATCH

    from medssl.store import open_store

    number = 2 if options.quick else NUM_VOLUMES
    if options.store:
        (folder / "store").symlink_to(Path(options.store).resolve())
        store = open_store(folder / "store")
    else:
        _say(f"making {number} volumes")
        store = make_store(folder / "store", options.modality, number)
    taken = export(store, folder, number, PATCH)
    if not taken:
        sys.exit(f"no volume of the store has {PATCH} voxels along each axis")
    print(f"{taken} volumes, {options.rounds} rounds of {options.seconds:g} s\n")


def _run(setting: str, side: str, folder: Path, seconds: float, runs: Runs) -> None:
    arguments = [setting, "--side", side, "--folder", str(folder), "--seconds", str(seconds)]
    try:
        runs.answers.append(run_side("augment.py", arguments, SETTINGS[setting].cores))
    except SideFailed as failed:
        runs.fault = str(failed)
        _say(runs.fault)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _show(table: dict[str, dict[str, Runs]], options: argparse.Namespace) -> None:
    ratios: dict[str, float] = {}
    for name, sides in table.items():
        there = {side: runs for side, runs in sides.items() if runs.answers}
        for side, runs in sides.items():
            if runs.fault:
                print(f"{name}, {side} FAILED: {runs.fault}")
        if name == "singles":
            _show_singles(there)
        elif name == "step":
            ratios |= _show_step(there)
        elif there:
            _show_rates(name, there)
            ratios |= _ratios(name, {side: runs.median("rate") for side, runs in there.items()})
    print(json.dumps({name: round(ratio, 3) for name, ratio in ratios.items()}))


def _show_rates(name: str, sides: dict[str, Runs]) -> None:
    what = "pairs/s" if SETTINGS[name].case == "two_view" else "patches/s"
    rows = []
    for side, runs in sides.items():
        rates = [answer["rate"] for answer in runs.answers]
        spread = f"{min(rates):.1f} to {max(rates):.1f}"
        ends = (
            f"{runs.median('cpu_ms'):.1f}",
            f"{runs.median('first_s'):.1f}",
            f"{runs.median('peak_mb'):.0f}",
        )
        rows.append([side, f"{statistics.median(rates):.1f}", spread, *ends])
    show([name, what, "of all rounds", "CPU ms", "first batch s", "peak MB"], rows)


def _show_singles(sides: dict[str, Runs]) -> None:
    names = dict.fromkeys(name for runs in sides.values() for name in runs.answers[0])
    rows = [
        [
            name,
            *(
                f"{runs.median(name):.2f}" if name in runs.answers[0] else "–"
                for runs in sides.values()
            ),
        ]
        for name in names
        if name != "peak_mb"
    ]
    show(["CPU ms for one patch", *sides], rows)


def _show_step(sides: dict[str, Runs]) -> dict[str, float]:
    for side, runs in sides.items():
        share, ms = runs.median("wait_share"), runs.median("step_ms")
        print(f"{side}: a step of {ms:.0f} ms waits {100 * share:.2f} % of it for data\n")
        return {"wait_share": share}
    return {}


def _ratios(name: str, rates: dict[str, float]) -> dict[str, float]:
    """Ours over each peer of two views, over the fastest peer elsewhere."""
    peers = {side: rate for side, rate in rates.items() if not side.startswith("medssl")}
    if not peers:
        return {}
    best = max(peers.values())
    found = {}
    if "medssl, array code" in rates:
        found["fallback_all_vs_best"] = rates["medssl, array code"] / best
    if "medssl" in rates and name == "two_view":
        found |= {f"{name}_vs_{side.lower()}": rates["medssl"] / r for side, r in peers.items()}
    elif "medssl" in rates:
        found[f"{name}_vs_best"] = rates["medssl"] / best
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "settings", nargs="*", metavar="SETTING", help=f"of {', '.join(SETTINGS)}; default: all"
    )
    parser.add_argument("--store", help="a medssl store; without it one is made")
    parser.add_argument("--modality", choices=("MR", "CT"), default="MR", help="of what is made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="that a run is timed for")
    parser.add_argument("--quick", action="store_true", help="two volumes, one short round")
    parser.add_argument("--tmp", help="folder for scratch")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.settings) - set(SETTINGS)
    if unknown:
        parser.error(f"no setting {', '.join(unknown)}; there are {', '.join(SETTINGS)}")
    options.settings = options.settings or list(SETTINGS)
    if options.quick:
        options.rounds, options.seconds = 1, 0.5
    return options


if __name__ == "__main__":
    main()
