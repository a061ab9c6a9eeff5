"""Real MLflow servers for tests: on SQLite, and on PostgreSQL where this machine has it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PATIENCE_S = 300


@contextmanager
def sqlite_server(folder: Path) -> Iterator[str]:
    """The address of a server with a fresh SQLite database."""
    with _mlflow(f"sqlite:///{folder / 'server.db'}", folder) as url:
        yield url


@contextmanager
def postgresql_server(folder: Path) -> Iterator[str]:
    """The address of a server with a fresh PostgreSQL cluster; skips where there is none."""
    if importlib.util.find_spec("psycopg2") is None:
        pytest.skip("psycopg2 is not installed, which MLflow needs for PostgreSQL")
    with _postgresql() as uri, _mlflow(uri, folder) as url:
        yield url


@contextmanager
def _mlflow(database: str, folder: Path) -> Iterator[str]:
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "2"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    log = folder / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_it_answers(f"{url}/health", process, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


@contextmanager
def _postgresql() -> Iterator[str]:
    """The URI of a database of a cluster that lives as long as the test."""
    initdb = _program("initdb")
    if initdb is None:
        pytest.skip("PostgreSQL is not installed: no initdb")
    port = _free_port()
    # The server refuses to run as root: it then runs as the user that Debian's package makes.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    made = subprocess.run([*as_user, "mktemp", "-d"], capture_output=True, text=True, check=True)
    home = made.stdout.strip()
    try:
        subprocess.run(
            [*as_user, initdb, "-D", f"{home}/data", "-U", "medssl", "-A", "trust"],
            check=True,
            capture_output=True,
        )
        control = [*as_user, str(Path(initdb).with_name("pg_ctl")), "-D", f"{home}/data", "-w"]
        options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1"
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*control, "-t", "120", "-o", options, "start"], **quiet)  # type: ignore[call-overload]
        try:
            yield f"postgresql+psycopg2://medssl@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)  # type: ignore[call-overload]
    finally:
        subprocess.run([*as_user, "rm", "-rf", home], check=False)


def _program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"no answer within {_PATIENCE_S} s: {log.read_text()}")
