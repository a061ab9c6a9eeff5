"""ensemble.json: the networks of a cross-validation, to be averaged on new scans.

    {"schema": "medssl.ensemble/1",
     "average": "probabilities",
     "members": [{"weights": "folds/0/checkpoints/model.safetensors", "weights_sha256": "…"}, …]}

Paths are relative to the file. Each member's metadata says what it is (network, patch, classes,
temperature, threshold); a prediction is the mean of the members' probabilities, of classes or of
voxels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from medssl.errors import CheckpointError
from medssl.models.weights import read_metadata
from medssl.store.writer import write_atomically

FILE_NAME = "ensemble.json"
SCHEMA = "medssl.ensemble/1"


def write_ensemble(run: Path, members: Sequence[Path]) -> Path:
    """Name the members' weights, which lie under `run`, with their hashes; returns the file."""
    entries = [
        {
            "weights": member.relative_to(run).as_posix(),
            "weights_sha256": read_metadata(member)["weights_sha256"],
        }
        for member in members
    ]
    about = {"schema": SCHEMA, "average": "probabilities", "members": entries}
    write_atomically(run / FILE_NAME, json.dumps(about, indent=2) + "\n")
    return run / FILE_NAME


def read_ensemble(run: Path) -> list[Path]:
    """The weights of the members named in `run`/ensemble.json.

    Raises:
        CheckpointError: there is no such file, it is of another kind, or a member is gone or other
            than it was.
    """
    path = run / FILE_NAME
    if not path.is_file():
        raise CheckpointError(f"no {FILE_NAME} in {run}; a cross-validation writes it at its end")
    about = json.loads(path.read_text(encoding="utf-8"))
    if about.get("schema") != SCHEMA:
        raise CheckpointError(f"{path} is of schema {about.get('schema')}; read is {SCHEMA}")
    members = []
    for entry in about["members"]:
        member = run / entry["weights"]
        if read_metadata(member).get("weights_sha256") != entry["weights_sha256"]:
            raise CheckpointError(
                f"{member} is not the one that {path} names; run the cross-validation again"
            )
        members.append(member)
    return members
