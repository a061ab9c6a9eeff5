from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medssl.errors import CheckpointError
from medssl.models.build import build_classifier, build_encoder, build_segmenter
from medssl.models.config import SegResNetConfig, ViTConfig
from medssl.models.weights import (
    load_encoder,
    read_metadata,
    read_weights,
    save_weights,
    weights_sha256,
)

CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
VIT = ViTConfig(token_size=4, dim=24, depth=2, heads=2)
PATCH = (8, 8, 8)


def parts(net, *names):
    state = net.state_dict()
    return {key: value for key, value in state.items() if key.startswith(names)}


@pytest.fixture
def pretrained(tmp_path) -> tuple[Path, dict[str, torch.Tensor]]:
    """An encoder with its decoder, as masked reconstruction leaves them."""
    torch.manual_seed(1)
    state = parts(build_segmenter(CNN, 1, 2, PATCH), "encoder.", "decoder.")
    path = tmp_path / "encoder.safetensors"
    save_weights(path, state, {"model": CNN.model_dump_json()})
    return path, state


@pytest.fixture
def vit_file(tmp_path) -> Path:
    path = tmp_path / "vit.safetensors"
    save_weights(
        path,
        parts(build_classifier(VIT, 1, 2, PATCH, 0), "encoder."),
        {"model": VIT.model_dump_json()},
    )
    return path


def test_what_is_saved_is_read(tmp_path):
    state = {
        "a": torch.randn(3, 4).T,
        "b": torch.tensor(7),
        "c": torch.randn(2).to(torch.bfloat16),
        "d": torch.zeros(0),
    }
    path = tmp_path / "new" / "w.safetensors"
    digest = save_weights(path, state, {"method": "mae", "unicode": 'µ "quoted"'})
    read = read_weights(path)
    assert set(read) == set(state)
    assert all(torch.equal(read[name], state[name]) for name in state)
    assert read_metadata(path) == {
        "method": "mae",
        "unicode": 'µ "quoted"',
        "weights_sha256": digest,
    }
    assert weights_sha256(read) == digest
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]


def test_equal_weights_have_equal_files_in_every_process(tmp_path):
    code = (
        "import sys, torch, pathlib; from medssl.models.weights import save_weights;"
        "save_weights(pathlib.Path(sys.argv[1]), {'b': torch.ones(3), 'a': torch.zeros(2)},"
        "{str(i): 'x' for i in range(12)})"
    )
    files = [tmp_path / "1", tmp_path / "2"]
    running = [subprocess.Popen([sys.executable, "-c", code, str(file)]) for file in files]
    assert [process.wait() for process in running] == [0, 0]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("change", ["value", "name", "shape", "dtype"])
def test_the_hash_sees_every_change(change):
    state = {"a": torch.zeros(2, 2)}
    changed = {
        "value": {"a": torch.tensor([[0.0, 0], [0, 1e-30]])},
        "name": {"b": torch.zeros(2, 2)},
        "shape": {"a": torch.zeros(4)},
        "dtype": {"a": torch.zeros(2, 2, dtype=torch.int32)},
    }
    assert weights_sha256(state) != weights_sha256(changed[change])


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(path, {"a": torch.zeros(2)}, {})
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_weights(path, {"a": torch.ones(2)}, {})
    assert read_weights(path)["a"].sum() == 0
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_segmenter_takes_encoder_and_decoder(pretrained):
    path, state = pretrained
    net = build_segmenter(CNN, 1, num_classes=5, patch_size=PATCH)
    head = net.head.weight.clone()
    report = load_encoder(path, net)
    loaded = net.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert torch.equal(net.head.weight, head)
    assert set(report.matched) == set(state)
    assert (report.missing, report.unexpected, report.adapted) == ((), (), ())
    assert report.lines()[-1] == "100% of the encoder's weights matched"
    assert f"encoder.stem: {1} matched" in report.lines()


def test_the_decoder_stays_fresh_where_that_is_asked(pretrained):
    path, state = pretrained
    net = build_segmenter(CNN, 1, num_classes=5, patch_size=PATCH)
    fresh = {name: value.clone() for name, value in parts(net, "decoder.").items()}
    report = load_encoder(path, net, decoder=False)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in fresh.items())
    assert torch.equal(net.encoder.stem.weight, state["encoder.stem.weight"])
    assert report.share == 1
    assert set(report.unexpected) == {name for name in state if name.startswith("decoder.")}


def test_a_classifier_and_a_bare_encoder_leave_the_decoder_and_say_so(pretrained):
    path, state = pretrained
    for net in (build_classifier(CNN, 1, 2, PATCH, 0), build_encoder(CNN, 1, PATCH)):
        report = load_encoder(path, net)
        assert report.share == 1
        assert any(line.startswith("decoder.levels: ") for line in report.lines())
        stem = getattr(net, "encoder", net).stem.weight
        assert torch.equal(stem, state["encoder.stem.weight"])


@pytest.mark.parametrize(("old", "new"), [(1, 3), (2, 1), (2, 3)])
@pytest.mark.parametrize("config", [CNN, VIT])
def test_more_input_channels_answer_alike_where_they_show_alike(tmp_path, config, old, new):
    torch.manual_seed(2)
    theirs = build_classifier(config, old, 2, PATCH, 0).eval()
    ours = build_classifier(config, new, 2, PATCH, 0).eval()
    path = tmp_path / "old.safetensors"
    save_weights(path, parts(theirs, "encoder."), {})
    report = load_encoder(path, ours)
    assert report.adapted == ("encoder.stem.weight",)
    assert report.share == 1
    assert any("input channels" in line for line in report.lines())
    x = torch.randn(2, 1, *PATCH)
    ours_of_x = ours.encoder.embed(x.repeat(1, new, 1, 1, 1))
    theirs_of_x = theirs.encoder.embed(x.repeat(1, old, 1, 1, 1))
    assert torch.allclose(ours_of_x, theirs_of_x, atol=1e-5)


def test_another_backbone_is_refused_by_name_and_nothing_is_changed(vit_file):
    net = build_classifier(CNN, 1, 2, PATCH, 0)
    before = weights_sha256(net.state_dict())
    with pytest.raises(CheckpointError, match=r"model\.name: 'vit' -> 'segresnet'"):
        load_encoder(vit_file, net)
    assert weights_sha256(net.state_dict()) == before


def test_another_width_is_refused_by_name(pretrained):
    wide = build_segmenter(CNN.model_copy(update={"init_filters": 8}), 1, 2, PATCH)
    with pytest.raises(CheckpointError, match=r"0% .*model\.init_filters: 4 -> 8"):
        load_encoder(pretrained[0], wide)


def test_a_file_with_more_depth_than_the_network_is_refused(vit_file):
    deeper = ViTConfig(token_size=4, dim=24, depth=3, heads=2)
    with pytest.raises(CheckpointError, match=r"model\.depth: 2 -> 3"):
        load_encoder(vit_file, build_encoder(deeper, 1, PATCH))
    save_weights(
        vit_file,
        parts(build_classifier(deeper, 1, 2, PATCH, 0), "encoder."),
        {"model": deeper.model_dump_json()},
    )
    with pytest.raises(CheckpointError, match=r"model\.depth: 3 -> 2"):
        load_encoder(vit_file, build_encoder(VIT, 1, PATCH))


def test_a_stranger_without_metadata_is_told_by_its_tensors(tmp_path):
    path = tmp_path / "strange.safetensors"
    save_weights(path, {"backbone.conv.weight": torch.zeros(3)}, {})
    with pytest.raises(CheckpointError, match=r"encoder\.\S+ is not in the file.*backbone\.conv"):
        load_encoder(path, build_encoder(CNN, 1, PATCH))


def test_a_little_missing_is_reported_and_allowed(pretrained):
    path, state = pretrained
    lacking = {k: v for k, v in state.items() if k != "encoder.levels.1.1.norm1.weight"}
    assert len(lacking) == len(state) - 1
    save_weights(path, lacking | {"encoder.extra": torch.zeros(1)}, {})
    report = load_encoder(path, build_segmenter(CNN, 1, 2, PATCH))
    assert report.missing == ("encoder.levels.1.1.norm1.weight",)
    assert report.unexpected == ("encoder.extra",)
    assert 0.9 < report.share < 1
    (levels,) = (line for line in report.lines() if line.startswith("encoder.levels: "))
    assert levels.endswith("1 missing")
    with pytest.raises(CheckpointError):
        load_encoder(path, build_segmenter(CNN, 1, 2, PATCH), min_matched=1.0)


def test_missing_and_damaged_files_are_told_apart(tmp_path):
    with pytest.raises(CheckpointError, match="no weights at"):
        read_weights(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not safetensors at all")
    with pytest.raises(CheckpointError, match="damaged"):
        read_metadata(damaged)
