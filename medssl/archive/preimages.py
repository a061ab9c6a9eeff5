"""What keyed hashes were made of, kept in the linkage file, so that a new key can take over.

Whatever a unit's reading hashes is recorded, with what its first file hashes when it is looked at,
and its signature: no list of derivations has to be kept in step with the code that derives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from medssl.archive.identity import RecordingKey
from medssl.archive.look import Archive, look
from medssl.archive.worker import Context, Unit, UnitResult, ingest_unit

Preimages = Mapping[str, tuple[str, ...]]


def ingest_recorded(context: Context, unit: Unit) -> UnitResult:
    """`ingest_unit`, with the preimages of all its keys in the first row for the linkage file."""
    key = RecordingKey(context.key.secret)
    result = ingest_unit(replace(context, key=key), unit)
    look(Archive(context.config.archive, key), unit.files[0])  # the unit's key, and the files' tags
    _add(result, key.preimages)
    return result


def add_signature(result: UnitResult, key: RecordingKey) -> None:
    """Add what the unit's signature was made of; `key` signed it."""
    parts = result.store.signature.split(".")
    _add(result, {part: key.preimages[part] for part in parts if part in key.preimages})
    key.forget(parts[-1])  # of the unit's files; the settings are those of many units


def packed(preimages: Preimages) -> str:
    """As a text for the linkage file."""
    return json.dumps(dict(preimages), separators=(",", ":")) if preimages else ""


def unpacked(text: str) -> dict[str, tuple[str, ...]]:
    """What `packed` packed."""
    return {digest: tuple(fields) for digest, fields in json.loads(text or "{}").items()}


def _add(result: UnitResult, preimages: Preimages) -> None:
    if result.linkage:
        first = result.linkage[0]
        merged = {**unpacked(first.preimages), **preimages}
        result.linkage[0] = replace(first, preimages=packed(merged))
