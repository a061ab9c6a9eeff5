"""The folder of a run, the same for every stage.

config.yaml (complete, can be run again), run.log, metrics.jsonl, checkpoints/, report.html, and
summary.json once the run is done. The same command again resumes; a changed configuration is
refused, with the keys that differ.
"""

from __future__ import annotations

import fcntl
import json
import time
from pathlib import Path
from typing import IO, Any

import yaml

from medssl.config import Config, differing_keys, dump_config
from medssl.errors import NO_ROOM, ConfigError
from medssl.store.writer import write_atomically


class RunFolder:
    """Made by `RunFolder.open`; one process at a time works in it."""

    def __init__(self, path: Path, stage: str, lock: IO[str] | None) -> None:
        self.path = path
        self.stage = stage
        self._lock = lock

    @classmethod
    def open(cls, out: Path, config: Config, stage: str) -> RunFolder:
        """Make the folder, or take up the run that is in it.

        Raises:
            ConfigError: the folder holds another run, another configuration, or something else;
                or it cannot be made, or another process is working in it.
        """
        written = out / "config.yaml"
        new = json.loads(config.model_dump_json())
        if written.is_file():
            text = written.read_text(encoding="utf-8")
            saved = yaml.safe_load(text)
            if not text.startswith(f"# {stage}\n"):
                raise ConfigError(f"{out} is not a run of {stage}; choose another --out")
            differing = differing_keys(saved, new)
            if differing:
                raise ConfigError(
                    f"{out} was begun with another configuration ({'; '.join(differing)}); "
                    "restore these values to resume, or choose another --out"
                )
        elif out.is_dir() and any(p.name != ".lock" for p in out.iterdir()):
            raise ConfigError(f"{out} is not empty and not a run; choose another --out")
        lock = locked_folder(out)
        if not written.is_file():
            write_atomically(written, f"# {stage}\n{dump_config(config)}")
        run = cls(out, stage, lock)
        run.checkpoints.mkdir(exist_ok=True)
        return run

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def is_done(self) -> bool:
        return (self.path / "summary.json").is_file()

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the run as done; `summary` is what a second call of the same command tells."""
        text = json.dumps(summary, indent=2, sort_keys=True)
        write_atomically(self.path / "summary.json", text + "\n")

    def summary(self) -> dict[str, Any]:
        """What `finish` wrote."""
        loaded: dict[str, Any] = json.loads((self.path / "summary.json").read_text("utf-8"))
        return loaded

    def log(self, line: str) -> None:
        """Add a line with the time (UTC) to run.log."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with (self.path / "run.log").open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")

    def write_metrics(self, step: int, values: dict[str, float]) -> None:
        """Add one line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def read_metrics(self) -> list[dict[str, float]]:
        """The lines of metrics.jsonl; a last line torn by a crash is left out."""
        path = self.path / "metrics.jsonl"
        rows: list[dict[str, float]] = []
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    continue
        return rows

    def forget_metrics_after(self, step: int) -> None:
        """Drop what an earlier, killed process wrote beyond the checkpoint that is resumed."""
        kept = [row for row in self.read_metrics() if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomically(self.path / "metrics.jsonl", text)

    def remember(self, name: str, value: str) -> None:
        """Keep one short fact for the next process that takes up this run."""
        write_atomically(self.path / f".{name}", value)

    def recall(self, name: str) -> str | None:
        """What `remember` kept, or None."""
        path = self.path / f".{name}"
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def bind_key(self, key_id: str) -> None:
        """A run goes on only with a store under the key that it was begun with.

        Raises:
            ConfigError: the store has another key: its volumes have other names and another order.
        """
        begun = self.recall("store_key_id")
        if begun not in (None, key_id):
            raise ConfigError(
                f"{self.path} was begun on a store under key {begun}, the store is under {key_id} "
                "now; choose another --out"
            )
        self.remember("store_key_id", key_id)

    def close(self) -> None:
        """Let another process work in the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def locked_folder(out: Path) -> IO[str]:
    """Make the folder where it is not there, for this process alone until the lock is closed.

    Raises:
        ConfigError: it cannot be made, or another process is working in it.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is not a folder; choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise ConfigError(
            f"nothing can be written in {out} ({error.strerror}); choose another --out"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigError(f"another process is working in {out}; wait for it") from error
    return lock
