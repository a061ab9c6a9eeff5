"""The stage: two corpora in, pairs of volumes, a page of pictures and a summary out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medssl.efficiency.canonical import canonical_json
from medssl.errors import ConfigError
from medssl.leaks.config import LeaksConfig
from medssl.leaks.corpus import Corpus, located, read_corpus, read_learned, with_thin
from medssl.leaks.embedded import embed_all, read_embeddings
from medssl.leaks.near import MOST_PAIRS, NearPairs, find_near_looks, find_near_vectors
from medssl.leaks.rulings import RULINGS, Ruling, pair_id, read_rulings
from medssl.leaks.shared import EXACT, Shared, find_shared, undecided
from medssl.progress import SILENT, Progress
from medssl.report.leak_pairs import write_leaks
from medssl.store.writer import write_atomically

PAIRS = "pairs.parquet"
PAGE = "leaks.html"
SUMMARY = "search.json"
SCHEMA = "medssl.leaks/1"


@dataclass(frozen=True)
class LeaksResult:
    """What a search found, and where it is written.

    Attributes:
        a, b: the corpora, for a reader.
        shared: by exact kind; a kind that could not be told is in `undecided` instead.
        undecided: kind to why.
        near: by kind of nearness.
        unreviewed: near pairs that nobody ruled on, each once, of those listed.
        confirmed: near pairs ruled the same.
    """

    out: Path
    a: str
    b: str
    shared: list[Shared]
    undecided: dict[str, str]
    near: list[NearPairs]
    unreviewed: int
    confirmed: int

    @property
    def leaks(self) -> bool:
        """Whether something is shared for certain: by key or hash, or because a person said so."""
        return self.confirmed > 0 or any(found.found for found in self.shared)

    def lines(self) -> list[str]:
        """For the reader; the last ones say where the results are."""
        lines = [f"A: {self.a}", f"B: {self.b}"]
        lines += [
            f"{found.kind}: {found.values:,} shared, {found.found:,} pairs of volumes"
            for found in self.shared
        ]
        lines += [f"{kind}: INCONCLUSIVE, {why}" for kind, why in self.undecided.items()]
        lines += [
            f"{near.kind}: {near.found:,} pairs of different patients nearer than "
            f"{near.threshold:.4g}; about {near.by_chance:,} by chance alone"
            for near in self.near
        ]
        lines.append(
            f"near pairs: {self.unreviewed:,} not ruled on, {self.confirmed:,} ruled the same"
        )
        return [*lines, f"pairs:   {self.out / PAIRS}", f"look at: {self.out / PAGE}"]


def search(config: LeaksConfig, out: Path, progress: Progress = SILENT) -> LeaksResult:
    """Search two corpora for the same patients and scans.

    Rulings in `out` are kept and applied.

    Raises:
        ConfigError, StoreError, StudyError, CheckpointError: a corpus, store, encoder or file of
            embeddings cannot be used, or rulings.jsonl is damaged.
    """
    if config.b is not None and config.b.resolve() == config.a.resolve():
        raise ConfigError(
            "A and B are the same folder; medssl ingest lists a store's own twins in its "
            "quality.html, and a study alone is compared with what it learned from"
        )
    a = read_corpus(config.a)
    b = read_learned(config.a) if config.b is None else read_corpus(config.b)
    for corpus in (a, b):
        if corpus.volumes.empty:
            raise ConfigError(f"nothing to compare: {corpus.what}")
    a, b = with_thin((a, b), config.stores)
    stores = located((a, b), config.stores)
    rulings = read_rulings(out / RULINGS)
    vectors = None if not config.embeddings else read_embeddings(config.embeddings)
    if config.encoder is not None:
        _refuse_without_voxels((a, b), stores)

    shared, open_questions = _shared(a, b)
    near = list(find_near_looks(a.volumes, b.volumes, MOST_PAIRS, progress))
    if config.encoder is not None:
        vectors = embed_all(config.encoder, stores, out / "embeddings", progress)
    if vectors is not None:
        for corpus, side in ((a, "A"), (b, "B")):
            if not corpus.volumes["volume_uid"].isin(vectors.keys()).any():
                raise ConfigError(f"--embeddings has none of the volumes of {side}: {corpus.what}")
        near.append(find_near_vectors(a.volumes, b.volumes, vectors, MOST_PAIRS, progress))

    pairs = _pairs(a, b, shared, near, rulings)
    told = pairs[pairs["kind"].isin([found.kind for found in near])].drop_duplicates("pair")
    result = LeaksResult(
        out,
        a.what,
        b.what,
        shared,
        open_questions,
        near,
        unreviewed=int((told["ruling"] == "").sum()),
        confirmed=int((told["ruling"] == "same").sum()),
    )
    out.mkdir(parents=True, exist_ok=True)
    _write_pairs(out / PAIRS, pairs)
    write_atomically(out / SUMMARY, canonical_json(_summary(result, a, b)))
    write_leaks(out / PAGE, result, pairs, stores, rulings)
    return result


def _shared(a: Corpus, b: Corpus) -> tuple[list[Shared], dict[str, str]]:
    why = {kind: undecided(kind, a, b) for kind in EXACT}
    found = [find_shared(kind, a, b, MOST_PAIRS) for kind in EXACT if why[kind] is None]
    return found, {kind: reason for kind, reason in why.items() if reason is not None}


def _pairs(
    a: Corpus,
    b: Corpus,
    shared: Sequence[Shared],
    near: Sequence[NearPairs],
    rulings: dict[str, Ruling],
) -> pd.DataFrame:
    """All pairs that are listed: exact ones first, then near ones by kind and distance."""
    pixels_a, pixels_b = (
        c.volumes.drop_duplicates("volume_uid").set_index("volume_uid")["pixel_sha256"]
        for c in (a, b)
    )
    frames = []
    for found in shared:
        uids = found.pairs
        frame = uids.assign(
            kind=found.kind,
            distance=float("nan"),
            threshold=float("nan"),
            pixel_sha256_a=uids["volume_uid_a"].map(pixels_a).fillna(""),
            pixel_sha256_b=uids["volume_uid_b"].map(pixels_b).fillna(""),
        )
        hashes = zip(frame["pixel_sha256_a"], frame["pixel_sha256_b"], strict=True)
        frame["mirror"] = ""
        frames.append(frame.assign(pair=[pair_id(*pair) for pair in hashes]))
    frames += [found.pairs for found in near]
    there = [frame for frame in frames if len(frame)] or frames[-1:]
    pairs = pd.concat(there, ignore_index=True)
    verdicts = {pair: ruling.ruling for pair, ruling in rulings.items()}
    ruled = pairs["pair"].map(verdicts).fillna("").where(pairs["distance"].notna(), "")
    columns = ["volume_uid_a", "volume_uid_b", "kind", "distance", "threshold"]
    return pairs.assign(ruling=ruled.astype(str))[
        [*columns, "ruling", "pair", "mirror", "pixel_sha256_a", "pixel_sha256_b"]
    ]


def _write_pairs(path: Path, pairs: pd.DataFrame) -> None:
    partial = path.with_name(f".{path.name}.partial")
    pairs.to_parquet(partial, index=False)
    partial.replace(path)


def _refuse_without_voxels(corpora: Sequence[Corpus], stores: dict[str, Path]) -> None:
    uids = {uid for corpus in corpora for uid in corpus.volumes["volume_uid"]}
    if missing := len(uids - stores.keys()):
        raise ConfigError(
            f"--encoder: {missing:,} of {len(uids):,} volumes are in no store that was named; name "
            "theirs with --store, which may be given repeatedly"
        )


def _summary(result: LeaksResult, a: Corpus, b: Corpus) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if value != value else value

    kinds: dict[str, Any] = {
        found.kind: {
            "status": "searched",
            "values": found.values,
            "found": found.found,
            "listed": len(found.pairs),
        }
        for found in result.shared
    }
    kinds |= {
        kind: {"status": "inconclusive", "why": why} for kind, why in result.undecided.items()
    }
    kinds |= {
        near.kind: {
            "status": "searched" if near.threshold == near.threshold else "inconclusive",
            "compared": near.compared,
            "left_out": near.left_out,
            "threshold": number(near.threshold),
            "natural_pairs": near.natural_pairs,
            "natural_nearest": number(near.natural_nearest),
            "found": near.found,
            "listed": len(near.pairs),
        }
        for near in result.near
    }
    sides = {
        name: {"what": c.what, "volumes": len(c.volumes), "key_ids": sorted(c.key_ids)}
        for name, c in (("a", a), ("b", b))
    }
    return {
        "schema": SCHEMA,
        **sides,
        "kinds": kinds,
        "unreviewed": result.unreviewed,
        "confirmed": result.confirmed,
    }
