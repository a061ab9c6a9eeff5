"""What a cell tells of itself while it is trained, in this process or another.

An event is a JSON object with the key `kind`:

- ledger: {event, path, sha256, facts}, for the study's ledger;
- cell: {params, datasets: [[part, digest, rows]]}, once the cell's folder is there;
- trial: {trial, setting}, and trial_end: {trial, figures};
- metrics: {trial or null, step, metrics}; null: of the cell itself;
- steps: {steps, figures}: training steps taken since the last one.

A process of its own writes them to cells/<cell>/events.jsonl, and the parent takes them up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Event = dict[str, Any]
Tell = Callable[[Event], None]

FILE_NAME = "events.jsonl"


class EventWriter:
    """Appends events to a file; those for the ledger are on the disk before work goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, event: Event) -> None:
        with self._path.open("ab") as file:
            file.write(json.dumps(event).encode() + b"\n")
            if event["kind"] == "ledger":
                file.flush()
                os.fsync(file.fileno())


class EventReader:
    """Reads what was appended since it last read; a line that is not whole waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def new(self) -> list[Event]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]
