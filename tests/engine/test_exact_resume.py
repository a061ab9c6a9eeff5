"""Pretraining killed with kill -9 at a random moment ends with the weights of an unbroken run.

The processes are real, and so is the signal.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest


def check_equal(whole: Path, broken: Path) -> None:
    """The same weights, and the same metrics, to the last bit."""
    for name in ("last.safetensors", "encoder.safetensors"):
        expected = (whole / "checkpoints" / name).read_bytes()
        assert (broken / "checkpoints" / name).read_bytes() == expected
    assert (broken / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


@pytest.mark.parametrize(("method", "workers", "processes"), [("simclr", 2, 1), ("moco", 0, 4)])
def test_weights_are_bit_equal_after_kill_9(
    tmp_path: Path,
    write_config: Callable[..., Path],
    ranks: Any,
    struck_midway: Callable[..., list[int]],
    method: str,
    workers: int,
    processes: int,
) -> None:
    config = write_config(method, num_workers=workers)
    whole = ranks.run(config, tmp_path / "whole", processes)

    broken = tmp_path / "broken"
    moment = random.uniform(0, 0.2)

    def begin() -> list[psutil.Process]:
        return ranks.start(config, broken, processes)

    def kill(process: psutil.Process) -> None:
        nonlocal moment
        time.sleep(moment)
        moment = 0  # the others at once
        process.kill()

    codes = struck_midway(broken, begin, kill, slice(None), ranks.wait)
    # Those that were killed last may have noticed that others were.
    assert set(codes) <= {-signal.SIGKILL, 75}
    assert -signal.SIGKILL in codes
    ranks.run(config, broken, processes)
    assert "resumed at step" in (broken / "run.log").read_text()
    check_equal(whole, broken)


def test_the_command_resumes_as_well(
    tmp_path: Path,
    write_config: Callable[..., Path],
    ranks: Any,
    struck_midway: Callable[..., list[int]],
) -> None:
    config = write_config("mae")
    whole = ranks.run(config, tmp_path / "whole", 1)
    out = tmp_path / "broken"
    command = [sys.executable, "-m", "medssl", "pretrain", str(config), "--out", str(out)]
    begun: list[psutil.Popen] = []

    def begin() -> list[psutil.Popen]:
        begun[:] = [psutil.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)]
        return begun

    codes = struck_midway(
        out, begin, psutil.Popen.kill, slice(None), lambda: [p.wait() for p in begun]
    )
    assert codes == [-signal.SIGKILL]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "encoder:" in ended.stdout
    check_equal(whole, out)


def test_any_number_of_processes_has_the_same_loss_curve(
    tmp_path: Path, write_config: Callable[..., Path], ranks: Any
) -> None:
    config = write_config("simclr", steps=15)
    curves = []
    for processes in (1, 2, 4):
        out = ranks.run(config, tmp_path / str(processes), processes)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        curves.append([row["train/loss"] for row in rows if "train/loss" in row])
    assert len(set(curves[0])) > 2
    # The batches are the same; sums are taken in another order.
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    assert curves[2] == pytest.approx(curves[0], rel=1e-4)
