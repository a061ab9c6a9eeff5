from __future__ import annotations

import pytest
import torch

from medssl.augment.masks import draw_token_masks
from medssl.errors import ConfigError
from medssl.methods.config import MAEConfig
from medssl.methods.mae import MAE, _joined, cube_side, masked_mean_square, normalised_tokens
from medssl.methods.reconstruction import visible_tokens
from medssl.models.build import build_segmenter
from medssl.models.config import ResEncConfig, SegResNetConfig, ViTConfig
from medssl.models.tokens import cut_tokens
from medssl.models.weights import load_encoder, save_weights

VIT = ViTConfig(token_size=4, dim=48, depth=2, heads=2, decoder_filters=4)
CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
UNET = ResEncConfig(
    features_per_stage=(4, 8, 8), n_blocks_per_stage=(1, 1, 1), strides=(1, (1, 2, 2), 2)
)
PATCH = (16, 16, 16)


def make(model, **settings) -> MAE:
    torch.manual_seed(0)
    return MAE(MAEConfig(**settings), model, 1, PATCH, seed=3)


def voxel_mask(masks: torch.Tensor, side: int) -> torch.Tensor:
    """(B, 16, 16, 16): the masks voxel by voxel."""
    n = 16 // side
    out = torch.zeros(len(masks), *PATCH, dtype=torch.bool)
    for b in range(len(masks)):
        for i in range(16):
            for j in range(16):
                for k in range(16):
                    cube = (i // side * n + j // side) * n + k // side
                    out[b, i, j, k] = masks[b, cube]
    return out


def hole(batch):
    """Samples partly outside the scan, and one wholly outside."""
    batch["valid"][0, 0, :, :5] = False
    batch["valid"][1, 0, :, :, 3:, 7:] = False
    batch["valid"][2] = False
    return batch


def test_the_cnn_s_loss_is_a_naive_loop_over_hidden_voxels(make_batch):
    method = make(CNN)
    batch = hole(make_batch(4, 1, 16))
    masks = draw_token_masks(3, 9, batch["index"], method.grid, 0.75)
    hidden = voxel_mask(masks, 4)
    image = batch["image"][:, 0]
    painted = image.clone()
    painted[hidden[:, None]] = method.reconstruction.paint.item()
    network = method.reconstruction
    maps = network.decoder(painted, method.encoder.features(painted))
    predicted = network.leave(maps)[:, 0].detach()
    total = 0.0
    for b in range(4):
        squares = []
        for i in range(16):
            for j in range(16):
                for k in range(16):
                    if hidden[b, i, j, k] and batch["valid"][b, 0, 0, i, j, k]:
                        squares.append(float(predicted[b, i, j, k] - image[b, 0, i, j, k]) ** 2)
        total += sum(squares) / len(squares) if squares else 0.0
    out = method(batch, 9)
    assert out["loss"].item() == pytest.approx(total / 4, rel=1e-4)
    counted = (hidden & batch["valid"][:, 0, 0]).sum() / hidden.sum()
    assert out["counted"].item() == pytest.approx(counted.item())


def test_the_vit_s_loss_is_a_naive_loop_over_normalised_hidden_tokens(make_batch):
    method = make(VIT)
    batch = hole(make_batch(4, 1, 16))
    masks = draw_token_masks(3, 5, batch["index"], method.grid, 0.75)
    image, valid = batch["image"][:, 0, 0], batch["valid"][:, 0, 0]
    with torch.no_grad():
        predicted = method.reconstruction(method.encoder, batch["image"][:, 0], masks)
    total = 0.0
    for b in range(4):
        squares = []
        for n in range(64):
            i, j, k = n // 16 * 4, n // 4 % 4 * 4, n % 4 * 4
            cube = image[b, i : i + 4, j : j + 4, k : k + 4].flatten().double()
            inside = valid[b, i : i + 4, j : j + 4, k : k + 4].flatten()
            if masks[b, n] and inside.any():
                mean, variance = cube[inside].mean(), cube[inside].var(correction=0)
                target = (cube - mean) / (variance + 1e-6).sqrt()
                squares += [float(s) for s in (predicted[b, n] - target).square()[inside]]
        total += sum(squares) / len(squares) if squares else 0.0
    assert method(batch, 5)["loss"].item() == pytest.approx(total / 4, rel=1e-4)


@pytest.mark.parametrize("model", [CNN, VIT])
def test_what_is_hidden_does_not_reach_the_prediction(make_batch, model):
    method = make(model)
    image = make_batch(2, 1, 16)["image"][:, 0].requires_grad_()
    masks = draw_token_masks(3, 0, torch.arange(2), method.grid, 0.75)
    predicted = method.reconstruction(method.encoder, image, masks)
    (gradient,) = torch.autograd.grad(predicted.square().sum(), image)
    hidden = voxel_mask(masks, method.side)
    assert (gradient[:, 0][hidden] == 0).all()
    assert (gradient[:, 0][~hidden] != 0).float().mean() > 0.99
    changed = image.detach().clone()
    changed[:, 0][hidden] = 1e4
    assert torch.equal(method.reconstruction(method.encoder, changed, masks), predicted)


def test_the_encoder_is_given_the_visible_tokens_alone(make_batch):
    method = make(VIT)
    lengths = []
    for block in method.encoder.blocks:
        block.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    method(make_batch(2, 1, 16), 0)
    assert lengths == [16, 16]


def test_the_loss_feels_hidden_voxels_through_the_target_alone(make_batch):
    method = make(CNN)
    batch = make_batch(2, 1, 16)
    batch["image"].requires_grad_()
    masks = draw_token_masks(3, 0, batch["index"], method.grid, 0.75)
    (gradient,) = torch.autograd.grad(method(batch, 0)["loss"], batch["image"])
    hidden = voxel_mask(masks, 4)
    with torch.no_grad():
        image = batch["image"][:, 0]
        painted = method.reconstruction.painted(image, masks)
        maps = method.reconstruction.decoder(painted, method.encoder.features(painted))
        error = (method.reconstruction.leave(maps) - image)[:, 0]
    expected = -2 * error / hidden.sum(dim=(1, 2, 3), keepdim=True) / 2
    assert torch.allclose(gradient[:, 0, 0][hidden], expected[hidden], atol=1e-6)


@pytest.mark.parametrize("model", [CNN, UNET, VIT])
def test_pictures_are_the_prediction_in_the_target_s_units(make_batch, model):
    method = make(model)
    batch = make_batch(3, 1, 16)
    batch["valid"][0, 0, 0, :6] = False
    image, valid = batch["image"][:, 0], batch["valid"][:, 0]
    with torch.no_grad():
        seen = method.pictures(batch, 9)
    hidden = voxel_mask(draw_token_masks(3, 9, batch["index"], method.grid, 0.75), 4)[:, None]
    assert torch.equal(seen.shown.isnan(), hidden)
    assert torch.equal(seen.shown[~hidden], image[~hidden])
    assert torch.equal(seen.target, image)
    total = 0.0
    for b in range(3):
        squares = []
        for n in range(64):
            at = (0, *(slice(4 * i, 4 * i + 4) for i in (n // 16, n // 4 % 4, n % 4)))
            counted = hidden[b][at] & valid[b][at]
            if counted.any():
                true = image[b][at][counted].double()
                deviation = (true.var(correction=0) + 1e-6).sqrt() if model is VIT else 1.0
                wrong = (seen.output[b][at][counted] - true) / deviation
                squares += wrong.square().tolist()
        total += sum(squares) / len(squares)
    assert method(batch, 9)["loss"].item() == pytest.approx(total / 3, rel=1e-4)


def test_tokens_are_joined_where_they_were_cut():
    voxels = torch.randn(2, 3, 8, 4, 12)
    assert torch.equal(_joined(cut_tokens(voxels, 4), (2, 1, 3), 4), voxels)


@pytest.mark.parametrize("model", [CNN, VIT])
def test_voxels_outside_the_scan_do_not_count(make_batch, model):
    method = make(model)
    batch = make_batch(2, 1, 16)
    masks = draw_token_masks(3, 0, batch["index"], method.grid, 0.75)
    hidden = voxel_mask(masks, 4)
    batch["valid"][:, 0, 0, :6] = False
    first = method(batch, 0)["loss"]
    unseen = hidden & ~batch["valid"][:, 0, 0]
    batch["image"][:, 0, 0][unseen] = float("nan")
    assert method(batch, 0)["loss"].item() == first.item()
    batch["image"][:, 0, 0][hidden & batch["valid"][:, 0, 0]] += 1
    assert method(batch, 0)["loss"].item() != first.item() or model is VIT


@pytest.mark.parametrize("model", [CNN, VIT])
def test_where_the_body_is_known_the_loss_is_a_naive_loop_over_its_hidden_voxels(make_batch, model):
    method = make(model)
    batch = make_batch(3, 1, 16)
    body = torch.zeros_like(batch["valid"])
    body[0, 0, 0, 2:9, :, 3:] = True
    body[1, 0, 0, 4:8, 4:8, 4:8] = True  # one token: nothing of it can be hidden and seen
    batch["body"] = body
    held = torch.stack([t.any(dim=1) for t in cut_tokens(body[:, 0].float(), method.side) > 0])
    grid = method.grid
    masks = draw_token_masks(3, 5, batch["index"], grid, 0.75, held.reshape(-1, *grid))
    with torch.no_grad():
        predicted = method.reconstruction(method.encoder, batch["image"][:, 0], masks)
    image, total = batch["image"][:, 0, 0].double(), 0.0
    n = 16 // method.side
    for b in range(3):
        squares = []
        for token in range(n**3):
            at = [method.side * x for x in (token // n**2, token // n % n, token % n)]
            cube = tuple(slice(x, x + method.side) for x in at)
            inside = body[b, 0, 0][cube].flatten()
            target = image[b][cube].flatten()
            if not masks[b, token] or not inside.any():
                continue
            if model is VIT:
                mean, variance = target[inside].mean(), target[inside].var(correction=0)
                target = (target - mean) / (variance + 1e-6).sqrt()
            squares += [float(x) for x in (predicted[b, token] - target).square()[inside]]
        total += sum(squares) / len(squares) if squares else 0.0
    assert method(batch, 5)["loss"].item() == pytest.approx(total / 3, rel=1e-4)
    hidden = (masks & held).sum(dim=1)
    assert hidden.tolist() == [min(round(0.75 * int(n)), int(n) - 1) for n in held[:2].sum(1)] + [0]


@pytest.mark.parametrize("model", [CNN, VIT])
def test_air_does_not_count_where_the_body_is_known(make_batch, model):
    method = make(model)
    batch = make_batch(2, 1, 16)
    batch["body"] = batch["valid"].clone()
    batch["body"][:, 0, 0, :6] = False
    held = cut_tokens(batch["body"][:, 0], method.side).any(dim=2)
    grid = method.grid
    masks = draw_token_masks(3, 0, batch["index"], grid, 0.75, held.reshape(-1, *grid))
    first = method(batch, 0)["loss"]
    unseen = voxel_mask(masks, method.side) & ~batch["body"][:, 0, 0]
    assert unseen.any()
    batch["image"][:, 0, 0][unseen] = float("nan")
    assert method(batch, 0)["loss"].item() == first.item()


def test_samples_on_two_ranks_average_to_one_rank(make_batch):
    method = make(VIT)
    batch = hole(make_batch(4, 1, 16))
    whole = method(batch, 2)["loss"]
    halves = [
        method({name: value[part] for name, value in batch.items()}, 2)["loss"]
        for part in (slice(0, 2), slice(2, 4))
    ]
    assert torch.stack(halves).mean().item() == pytest.approx(whole.item(), rel=1e-5)


def test_a_batch_outside_the_scan_has_no_loss_and_no_gradient(make_batch):
    method = make(CNN)
    batch = make_batch(2, 1, 16)
    batch["valid"][:] = False
    out = method(batch, 0)
    out["loss"].backward()
    assert out["loss"].item() == 0
    assert torch.isfinite(out["explained"])
    assert all((p.grad == 0).all() for p in method.parameters())


@pytest.mark.parametrize("model", [CNN, UNET, VIT])
def test_every_parameter_is_trained_in_float32_and_bfloat16(make_batch, model):
    method = make(model)
    batch = make_batch(2, 1, 16)
    out = method(batch, 0)
    out["loss"].backward()
    assert [n for n, p in method.named_parameters() if p.grad is None] == []
    with torch.autocast("cpu", torch.bfloat16):
        coarse = method(batch, 0)["loss"]
    assert coarse.dtype == torch.float32
    assert coarse.item() == pytest.approx(out["loss"].item(), rel=0.05)


def test_masks_follow_step_and_index_and_nothing_else(make_batch):
    method = make(VIT)
    batch = make_batch(4, 1, 16)
    assert method(batch, 1)["loss"].item() == method(batch, 1)["loss"].item()
    assert method(batch, 1)["loss"].item() != method(batch, 2)["loss"].item()
    moved = {**batch, "index": batch["index"] + 4}
    assert method(moved, 1)["loss"].item() != method(batch, 1)["loss"].item()


def test_explained_is_the_share_of_variance(make_batch):
    method = make(CNN)
    batch = make_batch(3, 1, 16)
    out = method(batch, 0)
    hidden = voxel_mask(draw_token_masks(3, 0, batch["index"], method.grid, 0.75), 4)
    variances = [batch["image"][b, 0, 0][hidden[b]].var(correction=0).item() for b in range(3)]
    expected = 1 - out["loss"].item() / (sum(variances) / 3)
    assert out["explained"].item() == pytest.approx(expected, rel=1e-3)


def test_visible_tokens_are_those_not_masked():
    masked = torch.tensor([[True, False, True, False], [False, False, True, True]])
    assert visible_tokens(masked).tolist() == [[1, 3], [0, 1]]


def test_normalised_tokens_have_no_mean_and_unit_variance_inside():
    tokens = torch.randn(2, 3, 64) * 5 + 9
    inside = torch.rand(2, 3, 64) > 0.3
    inside[1, 2] = False
    target = normalised_tokens(tokens, inside)
    assert (target[~inside] == 0).all()
    for b, n in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]:
        values = target[b, n][inside[b, n]]
        assert values.mean().abs() < 1e-5
        assert values.var(correction=0).item() == pytest.approx(1, rel=1e-3)


def test_the_mean_square_of_nothing_is_nothing():
    nothing = torch.zeros(2, 3, 4, dtype=torch.bool)
    assert masked_mean_square(torch.ones(2, 3, 4), torch.zeros(2, 3, 4), nothing) == 0


@pytest.mark.parametrize(
    ("patch", "side"),
    [
        ((28, 28, 28), 7),
        ((32, 32, 32), 8),
        ((48, 48, 48), 16),
        ((64, 64, 64), 16),
        ((160, 160, 160), 16),
        ((32, 128, 128), 16),
        ((17, 17, 17), 1),
    ],
)
def test_blocks_are_the_largest_that_leave_enough_of_them(patch, side):
    assert cube_side(MAEConfig(), CNN, patch) == side


def test_a_block_that_does_not_divide_the_patch_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"block_size 5 .*choose from 1, 2, 4, 8, 16"):
        make(CNN, block_size=5)


def test_an_option_without_effect_is_refused():
    with pytest.raises(ConfigError, match="no effect on a vit"):
        make(VIT, block_size=4)


@pytest.mark.parametrize("ratio", [0.001, 0.999])
def test_masking_none_or_all_is_refused(ratio):
    with pytest.raises(ConfigError, match="masks none or all"):
        make(VIT, mask_ratio=ratio)


def test_a_segmenter_takes_all_that_a_cnn_learned_and_a_vit_s_encoder(tmp_path):
    both = {"encoder", "decoder"}
    for model, kept in ((CNN, both), (UNET, both), (VIT, {"encoder"})):
        state = make(model).export_state()
        assert {name.split(".")[0] for name in state} == kept
        save_weights(tmp_path / "e.safetensors", state, {"model": model.model_dump_json()})
        net = build_segmenter(model, 1, 3, PATCH)
        report = load_encoder(tmp_path / "e.safetensors", net)
        assert (report.share, report.missing, report.unexpected) == (1, (), ())
        assert set(report.matched) == set(state)
        assert all(torch.equal(net.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize(("model", "steps", "ratio"), [(CNN, 40, 0.4), (VIT, 60, 0.7)])
def test_a_tiny_batch_is_overfitted(make_batch, model, steps, ratio):
    method = make(model)
    optimiser = torch.optim.AdamW(method.parameters(), lr=5e-3)
    batch = make_batch(2, 1, 16)
    losses = []
    for _ in range(steps):
        loss = method(batch, 0)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < ratio * losses[0]
