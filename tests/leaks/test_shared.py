"""Exact pairs against a loop over both corpora."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from medssl.leaks.corpus import Corpus
from medssl.leaks.shared import EXACT, find_shared, undecided

COLUMN = {"patient": "patient_key", "series": "series_key", "pixels": "pixel_sha256"}


def corpus(side: str, seed: int, key_id: str = "key", volumes: int = 40) -> Corpus:
    """Values are drawn from few, so that many are shared; some are empty."""
    rng = np.random.default_rng(seed)

    def drawn(n: int, kinds: int) -> list[str]:
        return [f"v{k}" if k else "" for k in rng.integers(0, kinds, n)]

    uids = [f"{side}{n}" for n in range(volumes)]
    frame = pd.DataFrame(
        {"volume_uid": uids, **{column: drawn(volumes, 25) for column in COLUMN.values()}}
    )
    of_volume = [uids[n] for n in rng.integers(0, volumes, 150)]
    files = {
        "volume_uid": of_volume,
        "instance_key": drawn(150, 60),
        "file_sha256": drawn(150, 200),
    }
    return Corpus(side, frame, pa.table(files), frozenset({key_id}))


@pytest.mark.parametrize("kind", EXACT)
def test_every_pair_that_a_loop_finds(kind: str) -> None:
    a, b = corpus("a", 1), corpus("b", 2)
    rows = []
    for side in (a, b):
        assert side.instances is not None
        column = COLUMN.get(kind) or {"instance": "instance_key", "file": "file_sha256"}[kind]
        table = side.volumes if kind in COLUMN else side.instances.to_pandas()
        rows.append(list(zip(table["volume_uid"], table[column], strict=True)))
    expected = {(x, y) for x, v in rows[0] for y, w in rows[1] if v == w != ""}
    values = {v for _, v in rows[0]} & {w for _, w in rows[1]} - {""}
    found = find_shared(kind, a, b, most=10_000)
    pairs = list(zip(found.pairs["volume_uid_a"], found.pairs["volume_uid_b"], strict=True))
    assert pairs == sorted(expected)
    assert (found.found, found.values) == (len(expected), len(values))
    some = find_shared(kind, a, b, most=7)
    assert 0 < len(some.pairs) <= 7
    assert some.values == len(values)
    assert some.found >= len(expected)
    assert set(zip(some.pairs["volume_uid_a"], some.pairs["volume_uid_b"], strict=True)) <= expected


def test_keys_of_different_secrets_are_not_compared() -> None:
    a, b = corpus("a", 1), corpus("b", 2, key_id="other")
    unnamed = corpus("b", 2, key_id="")
    no_files = Corpus("b", b.volumes, None, a.key_ids)
    assert [kind for kind in EXACT if undecided(kind, a, b)] == ["patient", "series", "instance"]
    assert [kind for kind in EXACT if undecided(kind, unnamed, unnamed)][:1] == ["patient"]
    assert [kind for kind in EXACT if undecided(kind, a, no_files)] == ["instance", "file"]
    assert not any(undecided(kind, a, corpus("b", 2)) for kind in EXACT)
