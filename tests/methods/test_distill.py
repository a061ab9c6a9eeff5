from __future__ import annotations

import math

import pytest
import torch

from medssl.errors import CheckpointError, ConfigError
from medssl.methods.config import DistillConfig
from medssl.methods.distill import Distill
from medssl.models.build import build_encoder
from medssl.models.config import SegResNetConfig, ViTConfig
from medssl.models.weights import save_weights

CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
DEEP = SegResNetConfig(init_filters=8, blocks_down=(1, 1, 1))
VIT = ViTConfig(token_size=8, dim=24, depth=3, heads=2)
PATCH = (16, 16, 16)


def write_teacher(path, model=DEEP, seed=5) -> None:
    torch.manual_seed(seed)
    encoder = build_encoder(model, 1, PATCH)
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    save_weights(path, state, {"model": model.model_dump_json()})


@pytest.fixture
def teacher(tmp_path):
    write_teacher(tmp_path / "teacher.safetensors")
    return tmp_path / "teacher.safetensors"


def make(teacher, model=CNN, patch=PATCH, **settings) -> Distill:
    torch.manual_seed(0)
    return Distill(DistillConfig(teacher=teacher, **settings), model, 1, patch, seed=3)


def partly_body(batch):
    """Samples with body in parts, one of them with none."""
    batch["body"] = batch["valid"].clone()
    batch["body"][0, 0, 0, :, :9] = False
    batch["body"][1] = False
    batch["body"][1, 0, 0, 15, 15, 0] = True
    batch["body"][2] = False
    return batch


def averages(features: torch.Tensor, n: int) -> torch.Tensor:
    """(C, n, n, n): the mean of each cell's places, one cell at a time."""
    side = features.shape[1] // n
    out = torch.zeros(len(features), n, n, n)
    for i in range(n):
        for j in range(n):
            for k in range(n):
                cell = tuple(slice(x * side, (x + 1) * side) for x in (i, j, k))
                out[:, i, j, k] = features[(slice(None), *cell)].mean(dim=(1, 2, 3))
    return out


@pytest.mark.parametrize(("model", "taught_by"), [(CNN, DEEP), (DEEP, CNN), (VIT, DEEP)])
def test_the_loss_is_a_naive_loop_over_samples_and_places(make_batch, tmp_path, model, taught_by):
    write_teacher(tmp_path / "t.safetensors", taught_by)
    method = make(tmp_path / "t.safetensors", model, dense_weight=0.7)
    batch = partly_body(make_batch(4, 1, 16))
    with torch.no_grad():
        theirs = method.teacher.encoder.features(batch["clean"][:, 0])[-1]
        ours = method.encoder.features(batch["image"][:, 0])[-1]
    n = min(theirs.shape[2], ours.shape[2])
    whole, dense, cosines = 0.0, 0.0, []
    for b in (0, 1, 3):
        said = method.to_whole(ours[b].mean(dim=(1, 2, 3))).tolist()
        true = theirs[b].mean(dim=(1, 2, 3)).tolist()
        dot = sum(x * y for x, y in zip(said, true, strict=True))
        cosines.append(dot / math.hypot(*said) / math.hypot(*true))
        whole += 1 - cosines[-1]
        coarse, target = averages(ours[b], n), averages(theirs[b], n)
        weight, bias = method.to_places.weight[:, :, 0, 0, 0], method.to_places.bias
        errors, side = [], 16 // n
        for i in range(n):
            for j in range(n):
                for k in range(n):
                    cell = tuple(slice(x * side, (x + 1) * side) for x in (i, j, k))
                    if not batch["body"][b, 0, 0][cell].any():
                        continue
                    t = target[:, i, j, k].double()
                    t = (t - t.mean()) / (t.var(correction=0) + 1e-5).sqrt()
                    wrong = (weight @ coarse[:, i, j, k] + bias - t).abs()
                    small = wrong < 1
                    errors.append(torch.where(small, wrong**2 / 2, wrong - 0.5).mean().item())
        dense += sum(errors) / len(errors)
    out = method(batch, 0)
    assert out["loss"].item() == pytest.approx((whole + 0.7 * dense) / 4, rel=1e-4)
    assert out["dense"].item() == pytest.approx(dense / 4, rel=1e-4)
    assert out["agreement"].item() == pytest.approx(sum(cosines) / 3, rel=1e-4)
    assert all(not value.requires_grad for name, value in out.items() if name != "loss")


def test_the_teacher_sees_the_patch_as_it_was_and_is_never_changed(make_batch, teacher):
    method = make(teacher)
    batch = make_batch(2, 1, 16)
    before = {n: v.clone() for n, v in method.teacher.encoder.state_dict().items()}
    seen = []
    method.teacher.encoder.levels[0].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    method.train()
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-2)
    method(batch, 0)["loss"].backward()
    optimiser.step()
    assert torch.equal(seen[0], method.teacher.encoder.stem(batch["clean"][:, 0]))
    assert not method.teacher.encoder.training
    after = method.teacher.encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_student_becomes_the_teacher_s_image(make_batch, teacher):
    method = make(teacher)
    batch = make_batch(4, 1, 16)
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-2)
    first = method(batch, 0)
    for step in range(60):
        out = method(batch, step)
        optimiser.zero_grad()
        out["loss"].backward()
        optimiser.step()
    assert 1 - out["agreement"] < 0.1 * (1 - first["agreement"])
    assert out["dense"] < 0.7 * first["dense"]


def test_samples_on_two_ranks_average_to_one_rank(make_batch, teacher):
    method = make(teacher)
    batch = partly_body(make_batch(4, 1, 16))
    whole = method(batch, 2)["loss"]
    halves = [
        method({name: value[part] for name, value in batch.items()}, 2)["loss"]
        for part in (slice(0, 2), slice(2, 4))
    ]
    assert torch.stack(halves).mean().item() == pytest.approx(whole.item(), rel=1e-5)


def test_a_batch_without_body_has_no_loss_and_no_gradient(make_batch, teacher):
    method = make(teacher)
    batch = make_batch(2, 1, 16)
    batch["valid"][:] = False
    out = method(batch, 0)
    out["loss"].backward()
    assert out["loss"].item() == out["agreement"].item() == 0
    assert all((p.grad == 0).all() for p in method.parameters())


@pytest.mark.parametrize("model", [CNN, VIT])
def test_every_parameter_is_trained_in_float32_and_bfloat16(make_batch, teacher, model):
    method = make(teacher, model)
    batch = make_batch(2, 1, 16)
    out = method(batch, 0)
    out["loss"].backward()
    assert [n for n, p in method.named_parameters() if p.grad is None] == []
    with torch.autocast("cpu", torch.bfloat16):
        coarse = method(batch, 0)["loss"]
    assert coarse.dtype == torch.float32
    assert coarse.item() == pytest.approx(out["loss"].item(), rel=0.05)


def test_checkpoints_hold_the_student_alone_and_resume_under_the_same_teacher(make_batch, teacher):
    method = make(teacher)
    state = method.state_dict()
    assert {name.split(".")[0] for name in state} == {
        "encoder", "to_whole", "to_places", "teacher_sha256",
    }  # fmt: skip
    torch.manual_seed(1)
    resumed = Distill(DistillConfig(teacher=teacher), CNN, 1, PATCH, seed=3)
    batch = make_batch(2, 1, 16)
    assert resumed(batch, 0)["loss"] != method(batch, 0)["loss"]
    resumed.load_state_dict(state)
    assert torch.equal(resumed(batch, 0)["loss"], method(batch, 0)["loss"])


def test_another_teacher_in_its_place_is_refused_on_resuming(teacher):
    state = make(teacher).state_dict()
    write_teacher(teacher, seed=6)
    with pytest.raises(CheckpointError, match="are not those that this run began with"):
        make(teacher).load_state_dict(state)


def test_a_finished_run_s_folder_is_a_teacher(make_batch, tmp_path):
    write_teacher(tmp_path / "run/checkpoints/encoder.safetensors")
    write_teacher(tmp_path / "run/checkpoints/model.safetensors", seed=6)
    write_teacher(tmp_path / "alone.safetensors")
    batch = make_batch(2, 1, 16)
    losses = [make(tmp_path / name)(batch, 0)["loss"] for name in ("run", "alone.safetensors")]
    assert torch.equal(*losses)


def test_a_teacher_that_is_not_there_or_does_not_fit_is_refused_at_once(tmp_path, teacher):
    with pytest.raises(CheckpointError, match="no weights in"):
        make(tmp_path / "nowhere")
    nameless = tmp_path / "nameless.safetensors"
    save_weights(nameless, build_encoder(CNN, 1, PATCH), {})
    with pytest.raises(CheckpointError, match="does not say which network it is of"):
        make(nameless)
    write_teacher(teacher, VIT)
    with pytest.raises(ConfigError, match=r"teacher.safetensors does not take this patch 12x12x12"):
        make(teacher, patch=(12, 12, 12))
    partial = {"encoder.stem.weight": torch.zeros(8, 1, 3, 3, 3)}
    save_weights(teacher, partial, {"model": DEEP.model_dump_json()})
    with pytest.raises(CheckpointError, match="of the encoder's weights match"):
        make(teacher)
