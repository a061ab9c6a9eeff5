"""Cells in several processes, with real training: the same bits, and what a kill costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from medssl.config import dump_config
from medssl.efficiency.canonical import sha256_file
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.ledger import read_ledger, verify_chain
from medssl.efficiency.study import run_study
from medssl.errors import StudyError

pytestmark = pytest.mark.usefixtures("no_tracking")
SEARCH = {"trials": 2, "space": {"optim.lr": [1e-3, 1e-2]}}

_RUN = """
import sys
from pathlib import Path
import medssl.tracking

class Nothing:
    run_id = "none"
    def __getattr__(self, name):
        return lambda *_, **__: None

if __name__ == "__main__":
    medssl.tracking.start = lambda *_, **__: Nothing()
    from medssl.config import load_config
    from medssl.efficiency.config import StudyConfig
    from medssl.efficiency.study import run_study
    run_study(load_config(StudyConfig, Path(sys.argv[1])), Path(sys.argv[2]), workers=2)
"""


class Heard:
    """A progress that counts."""

    def __init__(self) -> None:
        self.total, self.units, self.lines = 0, 0, list[str]()

    def start(self, what: str, total: int | None, done: int = 0) -> None:
        self.total, self.units = total or 0, done

    def advance(self, units: int = 1, **figures: float | str) -> None:
        self.units += units

    def say(self, line: str) -> None:
        self.lines.append(line)

    def finish(self) -> None: ...


def children_of(pid: int) -> list[int]:
    """Worker processes of a study; multiprocessing's own helper is none."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == pid and b"spawn_main" in command:
            found.append(int(status.parent.name))
    return found


def predictions(study: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in (study / "predictions").iterdir()}


@pytest.mark.slow
def test_two_workers_give_the_bits_of_one_and_one_ledger(
    bright_config: Any, tmp_path: Path
) -> None:
    config: StudyConfig = bright_config(arms=["scratch", "random_linear"], search=SEARCH)
    heard = Heard()
    run_study(config, tmp_path / "one")
    run_study(config, tmp_path / "two", heard, workers=2)
    assert predictions(tmp_path / "one") == predictions(tmp_path / "two")
    assert len(predictions(tmp_path / "one")) == 4
    # 0.4 has no validation part: one trial; 1.0 has two; the probe takes no step.
    assert heard.total == heard.units == 3 * 6
    ledgers = [read_ledger(tmp_path / name / "ledger.jsonl") for name in ("one", "two")]
    for entries in ledgers:
        assert verify_chain(entries) == []
    one, two = (
        sorted(
            json.dumps([e.event, e.facts], sort_keys=True)
            for e in entries
            if "cell" in e.facts and e.event != "file_written"
        )
        for entries in ledgers
    )
    assert one == two
    for name in ("one", "two"):
        record = json.loads((tmp_path / name / "cells/scratch_1_0/cell.json").read_bytes())
        seen = record["representation"]
        assert 1 <= seen["rankme"] <= 36
        assert isinstance(seen["collapse"], bool)
        assert not (tmp_path / name / "cells/scratch_1_0/events.jsonl").exists()


def _begun(
    config: StudyConfig, study: Path, written: Path, cell: str
) -> tuple[subprocess.Popen[bytes], Path]:
    """A study with two workers, once the cell's training is under way."""
    written.with_suffix(".py").write_text(_RUN)
    written.write_text(dump_config(config))
    command = [sys.executable, str(written.with_suffix(".py")), str(written), str(study)]
    child = subprocess.Popen(command)
    state = study / "cells" / cell / "trials" / "0" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (state.is_file() and len(state.read_text().splitlines()) >= 3):
        assert child.poll() is None, "the study ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return child, state


@pytest.mark.slow
def test_a_killed_worker_costs_its_cell_a_retry_and_a_killed_parent_nothing(
    bright_config: Any, tmp_path: Path
) -> None:
    config: StudyConfig = bright_config(
        arms=["scratch"], search=SEARCH, fractions=[1.0], draws=2, steps=60
    )
    study = tmp_path / "study"
    child, _ = _begun(config, study, tmp_path / "study.yaml", "scratch_1_0")
    try:
        for pid in children_of(child.pid):
            os.kill(pid, signal.SIGKILL)
        # Both cells are begun anew, by other processes; then the parent is killed as well.
        deadline = time.monotonic() + 300
        log = study / "cells" / "scratch_1_0" / "trials" / "0" / "run.log"
        while not (log.is_file() and "resumed at step" in log.read_text()):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        orphans = children_of(child.pid)
        assert len(orphans) == 2
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in orphans):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)
    result = run_study(config, study, workers=2)
    assert result.cells == 2
    entries = read_ledger(study / "ledger.jsonl")
    assert verify_chain(entries) == []
    assert sum(e.event == "test_look" for e in entries) == 2
    run_study(config, tmp_path / "whole")
    assert predictions(study) == predictions(tmp_path / "whole")


def suicidal(config: Any, *_: Any) -> Any:
    """Ends the process of the cells of draw 1, whenever they are tried."""
    if config.draw == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    from medssl.transfer.fit import train_and_choose

    return train_and_choose(config, *_)


@pytest.mark.slow
def test_a_cell_that_kills_its_process_twice_is_listed_and_the_others_are_done(
    bright_config: Any, tmp_path: Path
) -> None:
    config: StudyConfig = bright_config(
        arms=["scratch"], search={"trials": 1}, fractions=[1.0], draws=3
    )
    study, heard = tmp_path / "study", Heard()
    with pytest.raises(StudyError, match=r"1 of 3 cells failed: scratch_1_1 \(its process was"):
        run_study(config, study, heard, train=suicidal, workers=2)
    assert [line for line in heard.lines if "tried once more" in line] == [
        "scratch_1_1: its process was killed; it is tried once more"
    ]
    assert {path.stem for path in (study / "predictions").iterdir()} == {
        "scratch_1_0",
        "scratch_1_2",
    }
    failed = [e for e in read_ledger(study / "ledger.jsonl") if e.event == "cell_failed"]
    assert [e.facts for e in failed] == [{"cell": "scratch_1_1", "error": "WorkerDied"}]
    assert heard.total == heard.units


@pytest.mark.slow
def test_a_dask_cluster_gives_the_bits_of_one_process(bright_config: Any, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    config: StudyConfig = bright_config(fractions=[1.0], draws=2, search={"trials": 1})
    run_study(config, tmp_path / "one")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        run_study(config, tmp_path / "two", scheduler=cluster.scheduler_address)
    assert predictions(tmp_path / "one") == predictions(tmp_path / "two")
    assert verify_chain(read_ledger(tmp_path / "two" / "ledger.jsonl")) == []
