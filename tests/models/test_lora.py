"""Low-rank updates: the pretrained network at first, frozen weights, and a merge that is exact."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medssl.models.build import build_encoder
from medssl.models.config import ModelConfig, PatchSize, ResEncConfig, SegResNetConfig, ViTConfig
from medssl.models.lora import add_updates, merge_updates

BACKBONES: list[tuple[ModelConfig, PatchSize]] = [
    (SegResNetConfig(init_filters=8, blocks_down=(1, 1)), (8, 8, 8)),
    (ResEncConfig(features_per_stage=(4, 8, 8), n_blocks_per_stage=(1, 2, 1)), (8, 8, 8)),
    (ViTConfig(token_size=4, dim=24, depth=2, heads=2, decoder_filters=4), (8, 8, 8)),
]


@pytest.mark.parametrize(("config", "size"), BACKBONES)
def test_updates_learn_merge_and_leave_the_rest_alone(config: ModelConfig, size: PatchSize) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(config, 1, size)
    with torch.no_grad():  # nnU-Net starts the last norm of each block at zero
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    names = list(encoder.state_dict())
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    x = torch.randn(2, 1, *size)
    with torch.no_grad():
        pretrained = encoder.train()(x)

    updated = add_updates(encoder, rank=2, alpha=4.0)
    assert updated > 2
    torch.testing.assert_close(encoder(x).detach(), pretrained, rtol=0, atol=0)
    learning = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    assert len(learning) == 2 * updated
    assert all(".parametrizations." in name for name in learning)

    target = torch.randn_like(pretrained)
    optimiser = torch.optim.SGD(learning.values(), lr=0.1)
    for _ in range(2):  # at the first step only B has a gradient, for B is zero
        optimiser.zero_grad()
        (encoder(x) * target).sum().backward()
        optimiser.step()
    changed = [
        (module.parametrizations[name].original.clone(), getattr(module, name).clone())
        for module in encoder.modules()
        if hasattr(module, "parametrizations")
        for name in module.parametrizations
    ]
    ranks = [
        int(torch.linalg.matrix_rank((now - original).flatten(1), rtol=1e-4))
        for original, now in changed
    ]
    assert len(ranks) == updated
    assert set(ranks) <= {0, 1, 2}  # 0 where an update is lost in rounding
    assert sum(rank > 0 for rank in ranks) > updated / 2
    with torch.no_grad():
        adapted = encoder(x)
        in_evaluation = encoder.eval()(x)

    merge_updates(encoder)
    assert set(encoder.state_dict()) == set(names)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), in_evaluation)
        torch.testing.assert_close(encoder.train()(x), adapted)
    assert not torch.allclose(adapted, pretrained)
    after = encoder.state_dict()
    other = [n for n, p in encoder.named_parameters() if not torch.equal(p, before[n])]
    assert len(other) == sum(rank > 0 for rank in ranks)
    # A fresh network takes the merged weights by their names.
    build_encoder(config, 1, size).load_state_dict(after)


def test_the_scale_is_alpha_over_rank() -> None:
    layer = nn.Linear(6, 5, bias=False)
    original = layer.weight.detach().clone()
    add_updates(layer, rank=2, alpha=3.0)
    update = layer.parametrizations.weight[0]  # type: ignore[union-attr, index]
    with torch.no_grad():
        update.b.normal_()
    expected = original + 1.5 * update.b @ update.a
    torch.testing.assert_close(layer.weight, expected)


def test_what_a_low_rank_does_not_spare_is_left_frozen() -> None:
    module = nn.Sequential(nn.Conv3d(4, 4, 3, groups=4), nn.Linear(8, 2), nn.Linear(8, 6))
    assert add_updates(module, rank=2, alpha=1.0) == 1
    assert not any(p.requires_grad for p in module[:2].parameters())
