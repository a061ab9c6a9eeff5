from __future__ import annotations

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F

from medssl.augment.masks import draw_token_masks
from medssl.errors import ConfigError, TrainingError
from medssl.methods.config import HybridConfig
from medssl.methods.dense import features_here, features_there, match_cells
from medssl.methods.hybrid import Hybrid, masked_huber
from medssl.methods.momentum import cosine_momentum
from medssl.methods.reconstruction import block_voxels
from medssl.models.build import build_segmenter
from medssl.models.config import SegResNetConfig, ViTConfig
from medssl.models.weights import load_encoder, save_weights

VIT = ViTConfig(token_size=4, dim=24, depth=2, heads=2, decoder_filters=4)
CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
PATCH = (16, 16, 16)


def make(model, **settings) -> Hybrid:
    """A method whose teacher is not its student any more."""
    torch.manual_seed(0)
    settings = {"hidden_dim": 16, "output_dim": 8, **settings}
    method = Hybrid(HybridConfig(**settings), model, 1, PATCH, seed=3)
    with torch.no_grad():
        for part in (method.teacher_encoder, method.teacher_heads):
            for parameter in part.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return method


def hole(batch):
    """Crops partly and wholly outside the body; `clean` is not what the network is shown."""
    batch["body"] = batch["valid"].clone()
    batch["body"][0, 0, 0, :5] = False
    batch["body"][1, 1, 0, :, 3:, 7:] = False
    batch["body"][2, 0] = False
    return batch


@pytest.mark.parametrize("model", [CNN, VIT])
def test_every_term_is_a_naive_loop(make_batch, naive_nt_xent, model):
    method = make(model)
    batch = hole(make_batch(4, 2, 16, patients=[3, 3, 1, 2]))
    side, n = method.side, 16 // method.side
    crops, clean = batch["image"].flatten(0, 1), batch["clean"].flatten(0, 1)
    body = batch["body"].flatten(0, 1)[:, 0]

    hidden = torch.zeros(8, *PATCH, dtype=torch.bool)
    for index, view in itertools.product(range(4), range(2)):
        crop = 2 * index + view
        shows = torch.zeros(n, n, n, dtype=torch.bool)
        for cube in itertools.product(range(n), repeat=3):
            at = tuple(slice(side * x, side * x + side) for x in cube)
            shows[cube] = body[crop][at].any()
        mask = draw_token_masks(3, 9, torch.tensor([crop]), (n, n, n), 0.75, shows[None])
        for number, cube in enumerate(itertools.product(range(n), repeat=3)):
            at = tuple(slice(side * x, side * x + side) for x in cube)
            hidden[crop][at] = mask[0, number]

    painted = crops.clone()
    painted[hidden[:, None]] = method.reconstruction.paint.item()
    with torch.no_grad():
        maps = method.encoder.features(painted)
        network = method.reconstruction
        predicted = network.leave(network.decoder(painted, maps))[:, 0]
        seen = method.teacher_encoder.features(crops)[-1]
        matches = match_cells(batch, tuple(maps[-1].shape[2:]))
        ours = method.predictor(method.heads.dense(features_here(maps[-1], matches)))
        theirs = method.teacher_heads.dense(features_there(seen, matches))
        anchors = method.heads.whole(method.encoder.embed(painted)).tolist()
        keys = method.teacher_heads.whole(method.teacher_encoder.embed(crops)).tolist()

    masked = dense = 0.0
    for crop in range(8):
        losses = []
        for at in itertools.product(range(16), repeat=3):
            if hidden[crop][at] and body[crop][at]:
                error = abs(float(predicted[crop][at] - clean[crop, 0][at]))
                losses.append(0.5 * error**2 if error <= 1 else error - 0.5)
        masked += sum(losses) / len(losses) / 8 if losses else 0.0
        cells = [m for m, c in enumerate(matches.counted[crop].tolist()) if c]
        apart = []
        for m in cells:
            target = theirs[crop, m] - sum(theirs[crop, k] for k in cells) / len(cells)
            unit = [F.normalize(x, dim=0) for x in (ours[crop, m], target)]
            apart.append(float((unit[0] - unit[1]).square().sum()))
        dense += sum(apart) / len(apart) / 8 if apart else 0.0
    patient = [3, 3, 3, 3, -1, -1, 2, 2]
    contrast, accuracy = naive_nt_xent(anchors, keys, patient, patient, 0.5)

    out = method(batch, 9)
    assert out["masked"].item() == pytest.approx(masked, rel=1e-4)
    assert out["dense"].item() == pytest.approx(dense, rel=1e-4)
    assert out["contrast"].item() == pytest.approx(contrast, rel=1e-4)
    assert out["accuracy"].item() == pytest.approx(accuracy)
    assert out["loss"].item() == pytest.approx(5 * masked + dense + 0.1 * contrast, rel=1e-4)
    assert [name for name, value in out.items() if value.requires_grad] == ["loss"]


def test_weights_are_those_of_the_configuration(make_batch):
    batch = make_batch(3, 2, 16)
    out = make(CNN, masked_weight=2.0, dense_weight=0.0, contrast_weight=3.0)(batch, 0)
    assert out["loss"].item() == pytest.approx((2 * out["masked"] + 3 * out["contrast"]).item())
    assert out["dense"] > 0


def test_huber_is_a_loop_over_counted_voxels():
    target = 2 * torch.randn(3, 4, 20)
    predicted = target + torch.randn_like(target)
    counted = torch.rand(3, 4, 20) < 0.6
    counted[1] = False
    predicted[~counted] = torch.nan
    total = 0.0
    for n in (0, 2):
        errors = (predicted - target)[n][counted[n]].abs().tolist()
        total += sum(0.5 * e**2 if e <= 1 else e - 0.5 for e in errors) / len(errors)
    assert masked_huber(predicted, target, counted).item() == pytest.approx(total / 3, rel=1e-5)


def test_one_patient_alone_has_nothing_to_contrast(make_batch):
    method = make(CNN)
    out = method(make_batch(3, 2, 16, patients=[4, 4, 4]), 0)
    assert out["contrast"].item() == 0
    out["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.requires_grad)


def test_a_contrast_without_anybody_to_repel_is_refused(make_batch):
    with pytest.raises(TrainingError, match=r"hybrid: .* or set method\.contrast_weight to 0"):
        make(CNN)(make_batch(1, 2, 16), 0)
    assert make(CNN, contrast_weight=0)(make_batch(1, 2, 16), 0)["contrast"].item() == 0


@pytest.mark.parametrize("model", [CNN, VIT])
def test_every_parameter_learns_and_none_of_the_teacher_s(make_batch, model):
    method = make(model)
    batch = hole(make_batch(4, 2, 16))
    out = method(batch, 0)
    out["loss"].backward()
    teachers = {n for n, _ in method.named_parameters() if n.startswith("teacher_")}
    assert {n for n, p in method.named_parameters() if p.grad is None} == teachers
    assert all(not method.get_parameter(name).requires_grad for name in teachers)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = method(batch, 0)["loss"]
    assert coarse.dtype == torch.float32
    assert coarse.item() == pytest.approx(out["loss"].item(), rel=0.05)


def test_a_batch_outside_the_body_has_no_loss_and_no_gradient(make_batch):
    method = make(CNN)
    batch = make_batch(3, 2, 16)
    batch["body"] = torch.zeros_like(batch["valid"])
    out = method(batch, 0)
    out["loss"].backward()
    assert out["loss"].item() == 0
    assert all(torch.isfinite(value) for value in out.values())
    assert all((p.grad == 0).all() for p in method.parameters() if p.requires_grad)


def test_what_is_hidden_reaches_the_student_through_the_target_alone(make_batch):
    method = make(CNN)
    batch = make_batch(2, 2, 16)
    masks = method._masks(batch["index"], batch["valid"].flatten(0, 1), 4)
    assert (masks[0::2] != masks[1::2]).any(), "the two views have masks of their own"
    hidden = block_voxels(masks, method.grid, method.side).reshape(batch["image"].shape)
    first = method(batch, 4)
    unseen = {**batch, "image": batch["image"].masked_fill(hidden, 50.0)}
    second = method(unseen, 4)
    assert second["masked"].item() == first["masked"].item()
    assert second["dense"].item() != first["dense"].item(), "the teacher sees whole crops"
    seen = {**batch, "image": batch["image"].masked_fill(~hidden, 50.0)}
    assert method(seen, 4)["masked"].item() != first["masked"].item()


def test_the_teacher_follows_ever_more_slowly(make_batch):
    method = make(VIT, momentum=0.9)
    pairs = [(method.teacher_encoder, method.encoder), (method.teacher_heads, method.heads)]
    for step in (0, 3):
        before = [copy.deepcopy(teacher.state_dict()) for teacher, _ in pairs]
        student = [copy.deepcopy(own.state_dict()) for _, own in pairs]
        method.after_step(step, 10)
        momentum = cosine_momentum(0.9, step, 10)
        for (teacher, own), old, new in zip(pairs, before, student, strict=True):
            for name, value in teacher.state_dict().items():
                expected = momentum * old[name] + (1 - momentum) * new[name]
                assert torch.allclose(value, expected, atol=1e-6), name
                assert torch.equal(own.state_dict()[name], new[name])


def test_a_run_that_was_interrupted_ends_with_equal_bits(make_batch):
    batch = hole(make_batch(4, 2, 16))

    def run(method, optimiser, steps):
        for step in steps:
            optimiser.zero_grad()
            method(batch, step)["loss"].backward()
            optimiser.step()
            method.after_step(step, 4)

    def start():
        method = make(CNN)
        return method, torch.optim.AdamW([p for p in method.parameters() if p.requires_grad])

    whole, optimiser = start()
    run(whole, optimiser, range(4))
    first, optimiser = start()
    run(first, optimiser, range(2))
    second, resumed = start()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    run(second, resumed, range(2, 4))
    for name, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_masks_follow_step_and_index_and_nothing_else(make_batch):
    method = make(CNN)
    batch = make_batch(4, 2, 16)
    assert method(batch, 1)["masked"].item() == method(batch, 1)["masked"].item()
    assert method(batch, 1)["masked"].item() != method(batch, 2)["masked"].item()
    moved = {**batch, "index": batch["index"] + 4}
    assert method(moved, 1)["masked"].item() != method(batch, 1)["masked"].item()


def test_pictures_show_what_the_loss_sees_of_the_first_crop(make_batch):
    method = make(CNN).eval()
    batch = hole(make_batch(3, 2, 16))
    batch["body"][:, 1] = False
    with torch.no_grad():
        pictures = method.pictures(batch, 2)
    assert torch.equal(pictures.target, batch["clean"][:, 0])
    hidden = pictures.shown.isnan()
    assert torch.equal(pictures.shown[~hidden], batch["image"][:, 0][~hidden])
    counted = hidden & batch["body"][:, 0]
    parts = (x.flatten(2) for x in (pictures.output, pictures.target, counted))
    assert masked_huber(*parts).item() == pytest.approx(
        2 * method(batch, 2)["masked"].item(), rel=1e-5
    )


def test_a_segmenter_goes_on_with_the_decoder(tmp_path):
    method = make(CNN)
    path = tmp_path / "encoder.safetensors"
    save_weights(path, method.export_state(), {"model": CNN.model_dump_json()})
    segmenter = build_segmenter(CNN, 1, 2, PATCH)
    assert load_encoder(path, segmenter).share == 1
    decoder = method.reconstruction.decoder.state_dict()
    assert all(torch.equal(v, decoder[k]) for k, v in segmenter.decoder.state_dict().items())
    assert not any("teacher" in name for name in method.export_state())


def test_a_ratio_that_masks_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"method\.mask_ratio 0\.001 of 64 blocks of 4 voxels"):
        make(CNN, mask_ratio=0.001)


def test_a_vit_s_blocks_are_its_tokens():
    assert make(VIT).side == 4
    with pytest.raises(ConfigError, match=r"block_size has no effect on a vit"):
        make(VIT, block_size=8)
