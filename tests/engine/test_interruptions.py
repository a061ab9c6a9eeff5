"""Pretraining that is told to stop, loses a process, its disk, or a volume. All of it is real."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

SPOILT = f"{3:032x}"
Wait = Callable[[Path, psutil.Process], None]
LAST = Path("checkpoints") / "last.safetensors"


def command(config: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "medssl", "pretrain", str(config), "--out", str(out)]


def test_a_signal_to_one_process_stops_all_with_a_checkpoint(
    tmp_path: Path,
    write_config: Callable[..., Path],
    ranks: Any,
    struck_midway: Callable[..., list[int]],
) -> None:
    config = write_config("simclr")
    out = tmp_path / "stopped"
    codes = struck_midway(
        out,
        lambda: ranks.start(config, out, 2),
        lambda process: process.send_signal(signal.SIGUSR1),
        slice(1, 2),
        ranks.wait,
    )
    assert codes == [75, 75], ranks.errors
    said = re.search(r"stopped by a signal after step (\d+)", (out / "run.log").read_text())
    assert said is not None
    assert (out / "checkpoints" / f"step-{int(said[1]):08d}" / "training.pt").is_file()

    ranks.run(config, out, 2)
    assert f"resumed at step {said[1]}" in (out / "run.log").read_text()
    whole = ranks.run(config, tmp_path / "whole", 2)
    assert (out / LAST).read_bytes() == (whole / LAST).read_bytes()


def test_the_command_ends_with_a_code_to_restart_on(
    tmp_path: Path, write_config: Callable[..., Path], wait_for_checkpoint: Wait
) -> None:
    out = tmp_path / "run"
    process = psutil.Popen(
        command(write_config("mae", steps=4000), out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_checkpoint(out, process)
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode == 75
    lines = [line for line in errors.splitlines() if line.startswith("medssl: ")]
    assert len(lines) == 1
    assert re.fullmatch(r"medssl: stopped by a signal after step \d+, .* to resume", lines[0])


def test_the_others_end_when_one_process_is_killed(
    tmp_path: Path, write_config: Callable[..., Path], ranks: Any, wait_for_checkpoint: Wait
) -> None:
    out = tmp_path / "run"
    processes = ranks.start(write_config("simclr", steps=4000), out, 2)
    wait_for_checkpoint(out, processes[0])
    processes[1].kill()
    assert ranks.wait() == [75, -signal.SIGKILL], ranks.errors
    assert "process 0 of 2: another process of this run has ended" in ranks.errors


def test_a_spoilt_volume_is_skipped_once_and_named(
    tmp_path: Path, write_config: Callable[..., Path], ranks: Any, spoilt_store: Path
) -> None:
    """Every volume comes once in three steps of two, on one of two processes."""
    config = write_config("mae", store=spoilt_store, steps=3, batch_size=2)
    out = ranks.run(config, tmp_path / "once", 2)
    log = (out / "run.log").read_text()
    assert re.search(rf"step \d skipped: its loss is not finite; batch of {SPOILT}$", log, re.M)
    assert '"train/skipped_steps": 1.0' in (out / "metrics.jsonl").read_text()

    config = write_config("mae", store=spoilt_store, steps=6, batch_size=2)
    ranks.start(config, tmp_path / "twice", 2)
    assert ranks.wait() == [2, 2]
    assert re.search(
        rf"TrainingError: .* at step \d, in a batch of {SPOILT}; step \d was", ranks.errors
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path,
    write_config: Callable[..., Path],
    ranks: Any,
    small_disk: Path,
) -> None:
    config = write_config("mae", steps=12)
    size = sum(p.stat().st_size for p in ranks.run(config, tmp_path / "w", 1).rglob("step-*/*"))
    out = small_disk / "run"
    # Room for one checkpoint and a half; the run has two.
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - size * 3 // 4 - 40_000))
    ended = subprocess.run(command(config, out), capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("medssl: ")]
    assert lines == [
        "medssl: the disk is full, or a quota is used up; free some space and run the same command "
        "again"
    ]
    names = [p.name for p in (out / "checkpoints").iterdir()]
    assert names == ["step-00000007"]
    assert not list(out.rglob("*partial*"))

    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    ranks.run(config, out, 1)
    assert "resumed at step 7" in (out / "run.log").read_text()
    assert (out / LAST).read_bytes() == (tmp_path / "w" / LAST).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("sent", ["TERM to the launcher", "KILL to a process", "TERM to a process"])
def test_under_torchrun(
    tmp_path: Path, write_config: Callable[..., Path], wait_for_checkpoint: Wait, sent: str
) -> None:
    out = tmp_path / "run"
    config = write_config("simclr", steps=4000)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    agent = psutil.Popen(
        [sys.executable, *launcher, *command(config, out)[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wait_for_checkpoint(out, agent)
    family = agent.children(recursive=True)
    workers = sorted((p for p in family if "pretrain" in p.cmdline()), key=lambda p: p.pid)
    target = agent if "launcher" in sent else workers[-1]
    target.send_signal(signal.SIGKILL if "KILL" in sent else signal.SIGTERM)
    _, errors = agent.communicate()
    # The launcher has codes of its own: whether a run is done says its summary.json.
    assert agent.returncode == 1, errors
    assert not (out / "summary.json").exists()
    assert not [process for process in family if process.is_running()]
    if "TERM" in sent:
        assert "stopped by a signal after step" in (out / "run.log").read_text()
    else:
        assert "another process of this run has ended" in errors
