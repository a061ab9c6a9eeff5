"""Embeddings of a search with an encoder: computed once, kept, and never of two encoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from pydantic import ValidationError

from medssl.augment.config import PatchConfig
from medssl.errors import CheckpointError, ConfigError
from medssl.leaks import embedded
from medssl.leaks.config import LeaksConfig
from medssl.leaks.search import search
from medssl.models.build import build_encoder
from medssl.models.config import SegResNetConfig
from medssl.models.encoder import Encoder
from medssl.models.weights import save_weights
from medssl.store import open_store
from medssl.transfer.embedding import embed_volumes

MODEL = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
PATCH = PatchConfig(size=(16, 16, 16))

Make = Callable[..., Path]
Anatomy = Callable[..., npt.NDArray[np.float32]]


def write_run(root: Path) -> tuple[Path, Encoder]:
    """A pretraining run's encoder, with weights as they are drawn."""
    encoder = build_encoder(MODEL, 1, PATCH.size)
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    about = {"model": MODEL.model_dump_json(), "store_key_id": "key"}
    save_weights(root / "checkpoints" / "encoder.safetensors", state, about)
    config = {
        "store": "none",
        "method": {"name": "simclr"},
        "model": MODEL.model_dump(mode="json"),
        "augment": {"patch": PATCH.model_dump(mode="json")},
    }
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    return root, encoder


@pytest.fixture
def stores(tmp_path: Path, make_store: Make, make_anatomy: Anatomy) -> tuple[Path, Path]:
    first = {f"a{n}": (f"person {n}", make_anatomy(n)) for n in range(4)}
    second = {f"b{n}": (f"stranger {n}", make_anatomy(50 + n)) for n in range(3)}
    return make_store(tmp_path / "a", first), make_store(tmp_path / "b", second, "other")


def test_embeddings_are_the_encoders_and_are_kept(
    stores: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, encoder = write_run(tmp_path / "run")
    monkeypatch.setattr(embedded, "_A_PART", 3)
    where = {str(uid): root for root in stores for uid in open_store(root).manifest.index}
    found = embedded.embed_all(run, where, tmp_path / "kept")
    for root in stores:
        store = open_store(root)
        uids = list(store.manifest.index)
        expected = embed_volumes(encoder, store, uids, PATCH)
        np.testing.assert_allclose([found[uid] for uid in uids], expected, rtol=1e-4, atol=1e-5)
    assert len(list((tmp_path / "kept").glob("part-*.parquet"))) == 3
    monkeypatch.setattr("medssl.transfer.embedding.embed_volumes", None)  # not called again
    again = embedded.embed_all(run, where, tmp_path / "kept")
    assert again.keys() == found.keys()
    other, _ = write_run(tmp_path / "other")
    with pytest.raises(ConfigError, match="another encoder"):
        embedded.embed_all(other, where, tmp_path / "kept")


def test_a_search_with_an_encoder_needs_voxels_and_patients(
    stores: tuple[Path, Path], tmp_path: Path
) -> None:
    run, _ = write_run(tmp_path / "run")
    result = search(LeaksConfig(a=stores[0], b=stores[1], encoder=run), tmp_path / "out")
    near = result.near[-1]
    assert (near.kind, near.found, near.natural_pairs) == ("embedding", 0, 9)
    assert "nothing was compared" in (tmp_path / "out" / "leaks.html").read_text()
    with pytest.raises(CheckpointError, match="--encoder takes one"):
        search(LeaksConfig(a=stores[0], b=stores[1], encoder=stores[0]), tmp_path / "out")
    with pytest.raises(ValidationError, match="exclude each other"):
        LeaksConfig.model_validate({"a": stores[0], "encoder": run, "embeddings": [tmp_path]})
