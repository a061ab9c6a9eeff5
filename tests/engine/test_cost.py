"""What a pretraining cost, against known allocations and a counter of energy that is known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from mlflow import MlflowClient

from medssl.config import load_config
from medssl.efficiency.pretrained import read_pretrained
from medssl.engine.config import PretrainConfig
from medssl.engine.cost import Meter, cost_figures
from medssl.engine.pretrain import pretrain
from medssl.errors import Interrupted
from medssl.progress import SILENT

Counted = Callable[..., None]
MIB = 2**20


class _Counter:
    """Stands for codecarbon: each time that it is read, one kWh more has been drawn.

    `broken` names the part that fails.
    """

    broken = ""

    def __init__(self, output_handlers: list[Any], **_: Any) -> None:
        self._told, self._kwh = output_handlers, 0
        self._do("__init__")

    def start(self) -> None:
        self._do("start")

    def flush(self) -> None:
        self._do("flush")
        self._tell()

    def stop(self) -> None:
        self._do("stop")
        self._tell()

    def _do(self, what: str) -> None:
        if what == self.broken:
            raise RuntimeError(what)

    def _tell(self) -> None:
        self._kwh += 1
        for handler in self._told:
            handler.out(SimpleNamespace(energy_consumed=self._kwh), None)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """counted(): energy is counted; counted(broken=…): it fails there; counted(None): none is."""

    def put(counter: type[_Counter] | None = _Counter, broken: str = "") -> None:
        module = None
        if counter is not None:
            module = ModuleType("codecarbon")
            own = type("Counter", (counter,), {"broken": broken})
            module.OfflineEmissionsTracker = own  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "codecarbon", module)

    return put


def test_without_codecarbon_there_is_no_energy(counted: Counted) -> None:
    counted(None)
    with Meter() as meter:
        assert meter.state_dict()["kwh"] is None
    assert meter.kwh is None
    shown = cost_figures({"seconds": 2.0, **meter.state_dict()})
    assert shown == {"cost/seconds": 2.0, "cost/peak_mem": float(meter.peak_memory_bytes)}


@pytest.mark.parametrize(
    ("broken", "kwh"), [("__init__", None), ("start", None), ("flush", 1), ("stop", 1), ("", 2)]
)
def test_a_counter_that_fails_costs_its_figure_alone(
    counted: Counted, broken: str, kwh: float | None
) -> None:
    counted(broken=broken)
    with Meter() as meter:
        meter.state_dict()
    assert meter.kwh == kwh


def test_processes_beside_each_other_share_what_the_machine_drew(counted: Counted) -> None:
    counted()
    meter = Meter(share=0.25)
    meter.load_state_dict({"peak_memory_bytes": 0, "kwh": 10.0})
    with meter:
        assert meter.state_dict()["kwh"] == 10.25
    assert meter.kwh == 10.5


def test_energy_is_added_over_the_parts_that_measured_it(counted: Counted) -> None:
    state: dict[str, Any] = {"peak_memory_bytes": 10**15, "kwh": None}
    seen = []
    for measured in (False, True, False, True):
        counted() if measured else counted(None)
        with Meter() as part:
            part.load_state_dict(state)
            part.state_dict()
        state = part.state_dict()
        seen.append(state["kwh"])
        assert state["peak_memory_bytes"] == 10**15
    assert seen == [None, 2, 2, 4]


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU's memory is measured there")
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux")
def test_the_peak_is_that_of_what_was_done_meanwhile(counted: Counted) -> None:
    counted(None)
    np.ones(400 * MIB, np.uint8)  # before: counts for nothing
    held = psutil.Process().memory_info().rss
    with Meter() as large:
        np.ones(200 * MIB, np.uint8)
    with Meter() as small:
        pass
    assert large.peak_memory_bytes - held == pytest.approx(200 * MIB, abs=40 * MIB)
    assert small.peak_memory_bytes - held == pytest.approx(0, abs=40 * MIB)


class _Strike:
    """A `Progress` that does something once a step is taken."""

    start, say, finish = SILENT.start, SILENT.say, SILENT.finish

    def __init__(self, step: int, blow: Callable[[], None]) -> None:
        self._left, self._blow = step, blow

    def advance(self, units: int = 1, **figures: float | str) -> None:
        self._left -= units
        if units and self._left == 0:
            self._blow()


def _told_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _broken_off() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("blow", "ends", "before"),
    # Checkpoints are written after 7, 14, 21, 28 and 30 steps, and where it is told to stop.
    [(_told_to_stop, Interrupted, 2), (_broken_off, KeyboardInterrupt, 1)],
)
def test_a_resumed_pretraining_says_what_all_its_parts_cost(
    write_config: Callable[..., Path],
    tmp_path: Path,
    counted: Counted,
    blow: Callable[[], None],
    ends: type[BaseException],
    before: int,
) -> None:
    counted()
    config = load_config(PretrainConfig, write_config("mae"), [])
    out = tmp_path / "run"
    with pytest.raises(ends):
        pretrain(config, out, _Strike(10, blow))
    newest = sorted((out / "checkpoints").glob("step-*"))[-1]
    kept = torch.load(newest / "training.pt", weights_only=True)["cost"]
    assert kept["kwh"] == before
    assert 50 * MIB < kept["peak_memory_bytes"] < 100e9
    pretrain(config, out)
    cost = json.loads((out / "summary.json").read_text())
    assert cost["kwh"] == before + 4 + 1  # its checkpoints, and the end
    assert cost["peak_memory_bytes"] >= kept["peak_memory_bytes"]
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    shown = client.get_run((out / ".mlflow_run").read_text()).data.metrics
    assert {name: value for name, value in shown.items() if name.startswith("cost/")} == {
        "cost/seconds": cost["seconds"],
        "cost/steps": 30,
        "cost/peak_mem": cost["peak_memory_bytes"],
        "cost/kwh": cost["kwh"],
    }
    told = read_pretrained(out).as_record
    assert {n: told[n] for n in ("seconds", "peak_memory_bytes", "kwh")} == {
        n: cost[n] for n in ("seconds", "peak_memory_bytes", "kwh")
    }


_ALONE = """
import json, socket, sys, time, warnings
calls = []
def called(*args, **_):
    calls.append(repr(args))
    raise OSError("there is no network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = called
warnings.simplefilter("always")
from medssl.engine.cost import Meter
with Meter() as meter:
    began = time.monotonic()
    while time.monotonic() < began + 1:
        sum(range(1000))
    midway = meter.state_dict()["kwh"]
    time.sleep(0.5)
print(json.dumps([midway, meter.kwh, calls]))
"""


def test_codecarbon_measures_without_a_network_a_file_or_a_word(tmp_path: Path) -> None:
    """Even where it was told elsewhere to send, to write and to speak."""
    pytest.importorskip("codecarbon")
    told = {
        "OUTPUT_METHODS": "csv,api",
        "SAVE_TO_FILE": "true",
        "EMISSIONS_ENDPOINT": "http://127.0.0.1:9/",
        "ELECTRICITYMAPS_API_TOKEN": "token",
        "LOG_LEVEL": "debug",
        "ALLOW_MULTIPLE_RUNS": "false",
    }
    ended = subprocess.run(
        [sys.executable, "-c", _ALONE],
        cwd=tmp_path,
        env={**os.environ, **{f"CODECARBON_{name}": value for name, value in told.items()}},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stderr == ""
    midway, kwh, calls = json.loads(ended.stdout)
    assert calls == []
    assert list(tmp_path.iterdir()) == []
    assert 0 < midway < kwh
    watts = kwh * 3.6e6 / 1.5
    assert 0.5 < watts < 20_000
