"""Each regime through a whole fit: what changes, what is kept, and what a probe computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import medssl.engine.loop as loop
from medssl.augment.cache_config import CacheConfig
from medssl.augment.reader import Reader
from medssl.augment.scan_info import Scans
from medssl.augment.spatial import sample_volume
from medssl.config import parse_config
from medssl.engine.run_folder import RunFolder
from medssl.errors import ConfigError, TrainingError
from medssl.models.build import build_encoder
from medssl.models.config import SegResNetConfig
from medssl.models.weights import read_metadata, read_weights, save_weights
from medssl.predict.model import load_trained
from medssl.store import open_store
from medssl.transfer.cases import split_cases
from medssl.transfer.config import FinetuneConfig, SplitConfig
from medssl.transfer.embedding import embed_volumes
from medssl.transfer.finetune import finetune
from medssl.transfer.fit import Fit, fit
from medssl.transfer.probe import knn_probe
from medssl.transfer.sources import foreground_centre

MODEL = SegResNetConfig(init_filters=8, blocks_down=(1, 1))
SIZE = (16, 16, 16)


@pytest.fixture
def init(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    encoder = build_encoder(MODEL, 1, SIZE)
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    path = tmp_path / "pre" / "checkpoints" / "encoder.safetensors"
    save_weights(path, state, {"model": MODEL.model_dump_json()})
    return tmp_path / "pre"


def configured(store: Path, init: Path, regime: dict[str, Any], **changes: Any) -> FinetuneConfig:
    values: dict[str, Any] = {
        "store": str(store),
        "init": str(init),
        "task": {"name": "classification", "label": "size"},
        "regime": regime,
        "augment": {"patch": {"size": list(SIZE), "spacing_mm": 1.2}},
        "runtime": {"num_workers": 0, "threads": 1, "checkpoint_every": 4, "log_every": 4},
        "batch_size": 4,
        "split": {"test": 0.3, "val": 0.2},
    }
    return parse_config(FinetuneConfig, {**values, **changes})


STEPS = {"steps": 8, "validate_every": 4, "optim": {"lr": 0.01, "warmup_steps": 2}}


def fitted(config: FinetuneConfig, folder: Path) -> tuple[Fit, pd.DataFrame, dict[str, Any]]:
    """The fit, its cases and the weights that it kept."""
    store = open_store(config.store)
    _, cases, _ = split_cases(store, config.task, config.split)
    run = RunFolder.open(folder, config, "finetune")
    try:
        done = fit(config, store, cases, run)
    finally:
        run.close()
    return done, cases, read_weights(folder / "checkpoints" / "model.safetensors")


def embeddings(config: FinetuneConfig, init: Path, uids: list[str]) -> np.ndarray:
    encoder = build_encoder(MODEL, 1, SIZE)
    state = read_weights(init / "checkpoints" / "encoder.safetensors")
    encoder.load_state_dict({n.removeprefix("encoder."): v for n, v in state.items()})
    return embed_volumes(encoder, open_store(config.store), uids, config.augment.patch)


def reloaded_logits(config: FinetuneConfig, folder: Path, uids: list[str]) -> np.ndarray:
    """What the network says of the cases once it is loaded to predict."""
    network = load_trained(folder).network
    store = open_store(config.store)
    reader = Reader(store, CacheConfig(gigabytes=0))
    scans = Scans(store.manifest.loc[uids])
    crops = [sample_volume(reader, s, SIZE, 1.2, foreground_centre(s)).image for s in scans]
    with torch.no_grad():
        return network(torch.from_numpy(np.stack(crops))[:, None]).numpy()


def logits_of(frame: pd.DataFrame) -> np.ndarray:
    return frame[["logit_0", "logit_1"]].to_numpy()


def test_a_linear_probe_is_scikit_learns_on_embeddings(
    ball_store: Path, tmp_path: Path, init: Path
) -> None:
    config = configured(ball_store, init, {"name": "linear_probe"})
    done, cases, state = fitted(config, tmp_path / "run")
    assert done.outcome.steps == 0
    (told,) = (line for line in done.told if "penalty 1/" in line)
    penalty = float(told.split("penalty 1/")[1].split(",")[0])
    train = cases[cases["split"] == "train"]
    x = embeddings(config, init, train["volume_uid"].tolist())
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=penalty, max_iter=5000).fit(scaler.transform(x), train["y_true"])
    z = embeddings(config, init, done.predictions["volume_uid"].tolist())
    expected = model.predict_proba(scaler.transform(z))
    ours = softmax(logits_of(done.predictions), axis=1)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    pretrained = load_file(init / "checkpoints" / "encoder.safetensors")
    assert all(torch.equal(state[name], value) for name, value in pretrained.items())
    uids = done.predictions["volume_uid"].tolist()
    np.testing.assert_allclose(
        reloaded_logits(config, tmp_path / "run", uids), logits_of(done.predictions), atol=1e-4
    )


def test_neighbours_vote_as_the_knn_probe_says(
    ball_store: Path, tmp_path: Path, init: Path
) -> None:
    config = configured(ball_store, init, {"name": "knn", "k": 5})
    done, cases, _ = fitted(config, tmp_path / "run")
    train = cases[cases["split"] == "train"]
    uids = done.predictions["volume_uid"].tolist()
    expected = knn_probe(
        embeddings(config, init, train["volume_uid"].tolist()),
        train["y_true"].to_numpy(),
        embeddings(config, init, uids),
        k=5,
    )
    ours = softmax(logits_of(done.predictions), axis=1)
    np.testing.assert_allclose(ours, expected, atol=1e-3)
    np.testing.assert_allclose(
        reloaded_logits(config, tmp_path / "run", uids), logits_of(done.predictions), atol=1e-4
    )


def test_an_attention_probe_trains_pooling_and_head_alone(
    ball_store: Path, tmp_path: Path, init: Path
) -> None:
    config = configured(ball_store, init, {"name": "attention_probe", "heads": 2}, **STEPS)
    done, _, state = fitted(config, tmp_path / "run")
    pretrained = load_file(init / "checkpoints" / "encoder.safetensors")
    assert all(torch.equal(state[name], value) for name, value in pretrained.items())
    assert {name.split(".")[0] for name in set(state) - set(pretrained)} == {"pool", "head"}
    assert not torch.equal(state["pool.norm.weight"], torch.ones_like(state["pool.norm.weight"]))
    uids = done.predictions["volume_uid"].tolist()
    np.testing.assert_allclose(
        reloaded_logits(config, tmp_path / "run", uids), logits_of(done.predictions), atol=1e-4
    )


def test_lora_changes_weights_by_low_ranks_and_keeps_their_names(
    ball_store: Path, tmp_path: Path, init: Path
) -> None:
    config = configured(ball_store, init, {"name": "lora", "rank": 2}, **STEPS)
    done, _, state = fitted(config, tmp_path / "run")
    pretrained = load_file(init / "checkpoints" / "encoder.safetensors")
    assert set(state) == {*pretrained, "head.weight", "head.bias"}
    ranks = {
        name: int(torch.linalg.matrix_rank((state[name] - value).flatten(1), rtol=1e-3))
        for name, value in pretrained.items()
        if not torch.equal(state[name], value)
    }
    assert len(ranks) > 2
    assert set(ranks.values()) <= {1, 2}
    assert any("updates of rank 2" in line for line in done.told)
    uids = done.predictions["volume_uid"].tolist()
    np.testing.assert_allclose(
        reloaded_logits(config, tmp_path / "run", uids), logits_of(done.predictions), atol=1e-4
    )


def test_a_killed_lora_goes_on_to_the_same_bytes(
    ball_store: Path, tmp_path: Path, init: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(ball_store, init, {"name": "lora", "rank": 2}, **STEPS)
    whole, _, _ = fitted(config, tmp_path / "whole")

    class Killed(Exception):
        pass

    advance = loop._Loop._advance

    def dies(self: Any, batch: Any, step: int, stop: Any) -> bool:
        if step == 6:
            raise Killed
        return advance(self, batch, step, stop)

    monkeypatch.setattr(loop._Loop, "_advance", dies)
    with pytest.raises(Killed):
        fitted(config, tmp_path / "broken")
    monkeypatch.undo()
    broken, _, _ = fitted(config, tmp_path / "broken")
    weights = Path("checkpoints") / "model.safetensors"
    assert (tmp_path / "whole" / weights).read_bytes() == (
        tmp_path / "broken" / weights
    ).read_bytes()
    pd.testing.assert_frame_equal(whole.predictions, broken.predictions)


def test_temperature_and_flips_are_in_predictions_and_metadata(
    ball_store: Path, tmp_path: Path, init: Path
) -> None:
    spatial = {"flip": [0, 2]}
    augment = {"patch": {"size": list(SIZE), "spacing_mm": 1.2}, "spatial": spatial}
    plain = configured(ball_store, init, {"name": "full"}, **STEPS, augment=augment)
    config = plain.model_copy(update={"temperature_scaling": True, "test_time_flips": True})
    before, _, _ = fitted(plain, tmp_path / "plain")
    after, _, _ = fitted(config, tmp_path / "run")
    about = read_metadata(tmp_path / "run" / "checkpoints" / "model.safetensors")
    temperature = float(about["temperature"])
    assert json.loads(about["test_time_flips"]) == [0, 2]
    assert after.calibration is not None
    assert after.calibration.temperature == temperature != 1.0
    unscaled = softmax(logits_of(after.predictions) * temperature, axis=1)
    assert not np.allclose(unscaled, softmax(logits_of(before.predictions), axis=1), atol=1e-6)
    np.testing.assert_allclose(
        np.exp(logits_of(after.predictions) * temperature).sum(axis=1), 1.0, atol=1e-5
    )
    uids = after.predictions["volume_uid"].tolist()
    np.testing.assert_allclose(
        reloaded_logits(config, tmp_path / "run", uids), logits_of(after.predictions), atol=1e-4
    )
    y = after.predictions["y_true"].to_numpy()
    val = (after.predictions["split"] == "val").to_numpy()
    nll = -np.log(unscaled[np.arange(len(y)), y])[val].mean()
    assert after.calibration.nll_before == pytest.approx(nll, abs=1e-5)
    assert after.calibration.nll_after <= nll + 1e-9


def test_training_ends_when_patience_does(ball_store: Path, tmp_path: Path, init: Path) -> None:
    config = configured(
        ball_store, init, {"name": "full"}, **{**STEPS, "steps": 40, "validate_every": 2},
        patience=2,
    )  # fmt: skip
    # The first look is the best one: nothing after it can be higher than 1.
    with pytest.MonkeyPatch.context() as patch:
        from medssl.transfer import fit as module

        patch.setattr(module, "all_metrics", lambda frame: {"auc_macro": 0.5})
        done, _, _ = fitted(config, tmp_path / "run")
    assert done.outcome.best_step == 2
    assert done.outcome.steps == 6
    assert any("ended early after step 6 of 40" in line for line in done.told)
    without = config.model_copy(
        update={"split": config.split.model_copy(update={"val": 0.0}), "patience": 2}
    )
    with pytest.raises(TrainingError, match="patience: there is no validation part"):
        fitted(without, tmp_path / "none")


def test_the_report_of_a_probe_says_what_was_fitted(
    ball_store: Path, tmp_path: Path, init: Path
) -> None:
    config = configured(ball_store, init, {"name": "linear_probe"}, temperature_scaling=True)
    result = finetune(config, tmp_path / "run")
    page = (result.run / "report.html").read_text()
    assert "linear probe on frozen embeddings, no steps" in page
    assert "penalty 1/" in page
    assert "ECE of the test part" in page
    summary = json.loads((result.run / "summary.json").read_text())
    assert summary["calibration"]["ece_after"] == pytest.approx(result.metrics["test/ece"])
    split = SplitConfig(source="folds", folds=3, val=0.25)
    folds = config.model_copy(update={"split": split})
    result = finetune(folds, tmp_path / "folds")
    page = (result.run / "report.html").read_text()
    assert "Logits are divided by each fold" in page
    assert "Fold 2: linear_probe: the encoder" in page


def test_heads_that_do_not_divide_the_embedding_are_refused(
    ball_store: Path, tmp_path: Path, init: Path
) -> None:
    config = configured(ball_store, init, {"name": "attention_probe", "heads": 5}, **STEPS)
    with pytest.raises(ConfigError, match=r"regime\.heads 5"):
        fitted(config, tmp_path / "run")


def test_a_probe_without_initial_weights_is_not_told_as_from_scratch(
    ball_store: Path, tmp_path: Path, init: Path
) -> None:
    probe = configured(ball_store, init, {"name": "linear_probe"})
    config = probe.model_copy(update={"init": None, "model": MODEL})
    page = (finetune(config, tmp_path / "run").run / "report.html").read_text()
    assert "From an untrained encoder." in page
    assert "scratch" not in page
