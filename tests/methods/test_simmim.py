from __future__ import annotations

import itertools

import pytest
import torch

from medssl.augment.masks import draw_token_masks
from medssl.errors import ConfigError
from medssl.methods.config import SimMIMConfig
from medssl.methods.simmim import SimMIM, deepest_grid, mask_cells, shuffle_voxels
from medssl.models.build import build_encoder
from medssl.models.config import ResEncConfig, SegResNetConfig, ViTConfig
from medssl.models.tokens import cut_tokens

VIT = ViTConfig(token_size=4, dim=24, depth=2, heads=2)
CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
UNET = ResEncConfig(
    features_per_stage=(4, 8, 8), n_blocks_per_stage=(1, 1, 1), strides=(1, (1, 2, 2), 2)
)
PATCH = (16, 16, 16)


def make(model, patch=PATCH, **settings) -> SimMIM:
    torch.manual_seed(0)
    return SimMIM(SimMIMConfig(**settings), model, 1, patch, seed=3)


def hidden_voxels(masks: torch.Tensor, side: int) -> torch.Tensor:
    """(B, 16, 16, 16), voxel by voxel."""
    n = 16 // side
    out = torch.zeros(len(masks), 16, 16, 16, dtype=torch.bool)
    for i, j, k in itertools.product(range(16), repeat=3):
        out[:, i, j, k] = masks[:, (i // side * n + j // side) * n + k // side]
    return out


def naive_prediction(method: SimMIM, image, masks) -> torch.Tensor:
    """(B, 16, 16, 16): the head's numbers put voxel by voxel, from the network's own layers."""
    encoder, side = method.encoder, method.side
    hidden = hidden_voxels(masks, side)
    with torch.no_grad():
        if isinstance(method.mask, torch.nn.Parameter) and method.mask.ndim == 1:
            tokens = encoder.stem(image).flatten(2).mT.clone()
            tokens[masks] = method.mask
            nothing = torch.zeros_like(image)
            places = encoder._embed_tokens(nothing) - encoder.stem(nothing).flatten(2).mT
            deepest = encoder._through_blocks(tokens + places).mT.reshape(len(image), -1, 4, 4, 4)
        else:
            painted = image.clone()
            painted[hidden[:, None]] = method.mask.item()
            deepest = encoder.features(painted)[-1]
        numbers = method.head.leave(deepest)
    out = torch.zeros(len(image), 16, 16, 16)
    s, t, u = (16 // n for n in deepest.shape[2:])
    for i, j, k in itertools.product(range(16), repeat=3):
        channel = (i % s * t + j % t) * u + k % u
        out[:, i, j, k] = numbers[:, channel, i // s, j // t, k // u]
    return out


@pytest.mark.parametrize("model", [CNN, UNET, VIT])
@pytest.mark.parametrize("known_body", [False, True])
def test_the_loss_is_a_naive_loop_over_hidden_voxels(make_batch, model, known_body):
    method = make(model)
    torch.nn.init.normal_(method.mask)  # a value that would show if it stood elsewhere
    batch = make_batch(3, 1, 16)
    batch["valid"][0, 0, :, :5] = False
    batch["valid"][2] = False
    counted, bodies = batch["valid"][:, 0, 0], None
    if known_body:
        batch["body"] = batch["valid"].clone()
        batch["body"][0, 0, 0, :, 3:9] = False
        counted = batch["body"][:, 0, 0]
        bodies = cut_tokens(batch["body"][:, 0], 4).any(dim=2).reshape(3, 4, 4, 4)
    masks = draw_token_masks(3, 9, batch["index"], (4, 4, 4), 0.6, bodies)
    image, hidden = batch["image"][:, 0, 0], hidden_voxels(masks, 4)
    predicted = naive_prediction(method, image[:, None], masks)
    total = 0.0
    for b in range(3):
        found = (predicted[b] - image[b])[hidden[b] & counted[b]].tolist()
        total += sum(abs(x) for x in found) / len(found) if found else 0.0
    out = method(batch, 9)
    assert out["loss"].item() == pytest.approx(total / 3, rel=1e-4)
    assert out["counted"].item() == pytest.approx(
        ((hidden & counted).sum() / hidden.sum()).item(), rel=1e-5
    )
    assert all(not value.requires_grad for name, value in out.items() if name != "loss")


@pytest.mark.parametrize("model", [CNN, VIT])
def test_what_is_hidden_does_not_reach_the_prediction(make_batch, model):
    method = make(model)
    batch = make_batch(2, 1, 16)
    image, _, masked, hidden = method._hide(batch, 0)
    first = method._predict(image, masked, hidden)
    changed = image.masked_fill(hidden, 1e4)
    assert torch.equal(method._predict(changed, masked, hidden), first)
    moved = torch.where(hidden, image, image + 1)
    assert not torch.allclose(method._predict(moved, masked, hidden), first, atol=1e-3)


def test_cubes_of_several_tokens_are_hidden(make_batch):
    method = make(VIT, mask_size=8, mask_ratio=0.5)
    assert (method.side, method.block) == (4, 2)
    batch = make_batch(2, 1, 16)
    _, _, masked, _ = method._hide(batch, 4)
    expected = draw_token_masks(3, 4, batch["index"], (4, 4, 4), 0.5, block=2)
    assert torch.equal(masked, expected)


def test_the_encoder_is_given_every_token(make_batch):
    method = make(VIT)
    lengths = []
    for block in method.encoder.blocks:
        block.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    method(make_batch(2, 1, 16), 0)
    assert lengths == [64, 64]


@pytest.mark.parametrize("model", [CNN, VIT])
def test_with_nothing_hidden_it_is_the_encoder_s_own_map(make_batch, model):
    method = make(model)
    image = make_batch(2, 1, 16)["image"][:, 0]
    masked = torch.zeros(2, 64, dtype=torch.bool)
    shown = torch.zeros_like(image, dtype=torch.bool)
    expected = method.head(method.encoder.features(image)[-1])
    assert torch.allclose(method._predict(image, masked, shown), expected, atol=1e-5)


@pytest.mark.parametrize("patch", [(16, 16, 16), (17, 20, 22)])
def test_the_deepest_grid_is_that_of_a_real_pass(patch):
    encoder = build_encoder(SegResNetConfig(init_filters=4, blocks_down=(1, 1, 1)), 1, patch)
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    real = encoder.features(torch.zeros(1, 1, *patch))[-1].shape[2:]
    assert deepest_grid(encoder, patch) == tuple(real)
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())


def test_channels_become_voxels_place_by_place():
    maps = torch.randn(2, 3 * 2 * 1 * 4, 2, 3, 2)
    voxels = shuffle_voxels(maps, (2, 1, 4))
    assert voxels.shape == (2, 3, 4, 3, 8)
    for c, i, j, k in itertools.product(*map(range, (3, 4, 3, 8))):
        channel = c * 8 + (i % 2) * 4 + k % 4
        assert torch.equal(voxels[:, c, i, j, k], maps[:, channel, i // 2, j, k // 4])


def test_odd_sides_are_predicted_to_their_last_voxel():
    method = make(CNN, patch=(17, 18, 19), mask_size=6, mask_ratio=0.5)
    batch = {
        "image": torch.randn(2, 1, 1, 17, 18, 19),
        "valid": torch.ones(2, 1, 1, 17, 18, 19, dtype=torch.bool),
        "index": torch.arange(2),
    }
    seen = method.pictures(batch, 0)
    assert seen.output.shape == seen.target.shape == (2, 1, 17, 18, 19)
    assert torch.isfinite(method(batch, 0)["loss"])


def test_pictures_show_what_the_loss_is_of(make_batch):
    method = make(CNN)
    batch = make_batch(2, 1, 16)
    with torch.no_grad():
        seen = method.pictures(batch, 5)
    hidden = seen.shown.isnan()
    assert torch.equal(seen.shown[~hidden], batch["image"][:, 0][~hidden])
    distances = [(seen.output[b] - seen.target[b])[hidden[b]].abs().mean() for b in range(2)]
    assert method(batch, 5)["loss"].item() == pytest.approx(sum(distances).item() / 2, rel=1e-4)


def test_samples_on_two_ranks_average_to_one_rank(make_batch):
    method = make(VIT)
    batch = make_batch(4, 1, 16)
    batch["valid"][1, 0, :, 4:] = False
    batch["valid"][3] = False
    whole = method(batch, 2)["loss"]
    halves = [
        method({name: value[part] for name, value in batch.items()}, 2)["loss"]
        for part in (slice(0, 2), slice(2, 4))
    ]
    assert torch.stack(halves).mean().item() == pytest.approx(whole.item(), rel=1e-5)


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
    batch = make_batch(2, 1, 16)
    assert method(batch, 1)["loss"].item() == method(batch, 1)["loss"].item()
    assert method(batch, 1)["loss"].item() != method(batch, 2)["loss"].item()
    moved = {**batch, "index": batch["index"] + 4}
    assert method(moved, 1)["loss"].item() != method(batch, 1)["loss"].item()


@pytest.mark.parametrize(
    ("model", "patch", "asked", "expected"),
    [
        (CNN, (96, 96, 96), None, (16, 1)),
        (CNN, (40, 40, 40), None, (10, 1)),
        (CNN, (88, 88, 88), 16, (8, 2)),
        (CNN, (17, 20, 20), 6, (1, 6)),
        (ViTConfig(token_size=8), (96, 96, 96), None, (8, 2)),
        (ViTConfig(token_size=16), (32, 32, 32), None, (16, 1)),
        (ViTConfig(token_size=8), (40, 40, 40), 32, (8, 4)),
    ],
)
def test_the_masked_cube_and_the_cells_it_is_made_of(model, patch, asked, expected):
    assert mask_cells(SimMIMConfig(mask_size=asked), model, patch) == expected


def test_a_cube_that_does_not_fit_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"mask_size 6 is no whole number of the vit's tokens of"):
        make(VIT, mask_size=6)
    with pytest.raises(ConfigError, match="mask_size 20 is larger than the patch; choose 16"):
        make(CNN, mask_size=20)


@pytest.mark.parametrize("ratio", [0.001, 0.999])
def test_masking_none_or_all_is_refused(ratio):
    with pytest.raises(ConfigError, match="masks none or all"):
        make(VIT, mask_ratio=ratio)


@pytest.mark.parametrize(("model", "steps"), [(CNN, 60), (VIT, 60)])
def test_a_tiny_batch_is_overfitted(make_batch, model, steps):
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
    assert losses[-1] < 0.6 * losses[0]
