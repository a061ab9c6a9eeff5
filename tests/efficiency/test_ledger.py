"""The ledger's chain, and what a crash or a hand in it does."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medssl.efficiency.canonical import canonical_json
from medssl.efficiency.ledger import START, Ledger, read_ledger, root, verify_chain
from medssl.errors import StudyError

A, B = "a" * 64, "b" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.append("plan_frozen", "plan.json", A)
        ledger.append("training", cell={"arm": "scratch", "fraction": 0.1, "draw": 0})
        ledger.append("written", "predictions/scratch_0.1_0.parquet", B, rows=12)
    return tmp_path / "ledger.jsonl"


def test_the_chain_recomputes_by_the_protocols_formula(path: Path) -> None:
    previous = START
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        entry = json.loads(line)
        this = entry.pop("this")
        assert (entry["seq"], entry["prev"]) == (number, previous)
        assert this == hashlib.sha256(previous.encode() + canonical_json(entry)).hexdigest()
        previous = this
    assert root(read_ledger(path)) == previous
    assert verify_chain(read_ledger(path)) == []


def test_an_empty_ledger_has_the_starting_root(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        assert ledger.root() == START
    assert read_ledger(tmp_path / "ledger.jsonl") == []


def test_writing_goes_on_after_reopening(path: Path) -> None:
    with Ledger(path) as ledger:
        entry = ledger.append("written", "curve.json", A)
    assert entry.seq == 4
    entries = read_ledger(path)
    assert verify_chain(entries) == []
    assert entries[-1] == entry


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_changed_line_is_named(path: Path, line: int) -> None:
    lines = path.read_text().splitlines()
    lines[line] = lines[line].replace('"event":"', '"event":"x')
    path.write_text("\n".join(lines) + "\n")
    assert any(f"line {line + 1} was changed" in p for p in verify_chain(read_ledger(path)))


@pytest.mark.parametrize("line", [0, 1])
def test_a_line_gone_is_noticed(path: Path, line: int) -> None:
    lines = path.read_text().splitlines()
    del lines[line]
    path.write_text("\n".join(lines) + "\n")
    assert any("missing" in problem for problem in verify_chain(read_ledger(path)))


def test_a_last_line_gone_changes_the_root(path: Path) -> None:
    before = root(read_ledger(path))
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    assert verify_chain(read_ledger(path)) == []
    assert root(read_ledger(path)) != before


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_torn_last_line_is_cut_off_and_told_again(path: Path, kept: int) -> None:
    data = path.read_bytes()
    start = data[:-1].rfind(b"\n") + 1
    path.write_bytes(data[:start] + data[start:][:kept])
    assert [entry.seq for entry in read_ledger(path)] == [1, 2]
    with Ledger(path) as ledger:
        ledger.append("written", "predictions/scratch_0.1_0.parquet", B, rows=12)
    entries = read_ledger(path)
    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert verify_chain(entries) == []


def test_an_event_told_twice_counts_once(path: Path) -> None:
    with Ledger(path) as ledger:
        assert ledger.append("written", "predictions/scratch_0.1_0.parquet", B, rows=12).seq == 3
        assert ledger.append("plan_frozen", "plan.json", A).seq == 1
        assert (
            ledger.append("training", cell={"arm": "scratch", "fraction": 0.1, "draw": 0}).seq == 2
        )
        # Another hash, or another cell, is another event.
        assert ledger.append("plan_frozen", "plan.json", B).seq == 4
        assert (
            ledger.append("training", cell={"arm": "scratch", "fraction": 0.1, "draw": 1}).seq == 5
        )
        # So is a file that went back to what it had been.
        assert ledger.append("plan_frozen", "plan.json", A).seq == 6
    assert len(read_ledger(path)) == 6


def test_a_second_writer_is_refused_until_the_first_is_done(path: Path) -> None:
    with Ledger(path):
        with pytest.raises(StudyError, match="another process"):
            Ledger(path)
        assert len(read_ledger(path)) == 3  # readers need no lock
    Ledger(path).close()


@pytest.mark.parametrize("line", ["not json", "[1]", "{}", '{"seq":"1"}', "null"])
def test_a_damaged_line_is_named(path: Path, line: str) -> None:
    lines = path.read_text().splitlines()
    lines[1] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(StudyError, match="line 2"):
        read_ledger(path)


def test_a_missing_ledger_says_so(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no ledger"):
        read_ledger(tmp_path / "ledger.jsonl")


@pytest.mark.parametrize("bad", ["/etc/passwd", "../x", "a/../../x", "", "a\\b"])
def test_paths_stay_inside_the_study(path: Path, bad: str) -> None:
    with Ledger(path) as ledger, pytest.raises(StudyError, match="relative"):
        ledger.append("written", bad, A)


def test_kill_9_leaves_a_ledger_that_can_be_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    code = (
        "import sys, pathlib\n"
        "from medssl.efficiency.ledger import Ledger\n"
        "ledger = Ledger(pathlib.Path(sys.argv[1]))\n"
        "for i in range(10**9):\n"
        "    ledger.append('training', cell=i)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not (path.exists() and path.stat().st_size > 2000):
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with Ledger(path) as ledger:
        told = len(ledger.entries)
        ledger.append("written", "plan.json", A)
    entries = read_ledger(path)
    assert told > 3
    assert len(entries) == told + 1
    assert verify_chain(entries) == []
