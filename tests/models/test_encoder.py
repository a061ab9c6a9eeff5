"""What every encoder promises."""

from __future__ import annotations

import copy

import torch
from torch import nn

from medssl.models.build import build_encoder


def encoder_of(network, channels=1):
    torch.manual_seed(0)
    config, size = network
    encoder = build_encoder(config, channels, size)
    with torch.no_grad():  # what begins at zero would hide what depends on it
        for p in encoder.parameters():
            p.add_(torch.randn_like(p), alpha=0.02)
    return encoder


def test_features_run_from_fine_to_coarse_with_the_channels_promised(network):
    config, size = network
    encoder = build_encoder(config, 3, size)
    x = torch.randn(2, 3, *size)
    maps = encoder.features(x)
    assert tuple(m.shape[1] for m in maps) == encoder.channels
    volumes = [m[0, 0].numel() for m in maps]
    assert volumes == sorted(volumes, reverse=True)
    encoder.eval()
    pooled = encoder.features(x)[-1].flatten(2).mean(2)
    assert pooled.shape == (2, encoder.embed_dim)
    assert torch.allclose(encoder(x), pooled, atol=1e-5)


def test_every_parameter_takes_part_in_the_embedding(one_of_each):
    encoder = encoder_of(one_of_each, channels=2)
    encoder(torch.randn(2, 2, *one_of_each[1])).square().sum().backward()
    # A parameter without a gradient would stop distributed training of a contrastive method.
    assert [n for n, p in encoder.named_parameters() if p.grad is None] == []


def test_each_parameter_is_in_exactly_one_layer(one_of_each):
    encoder = encoder_of(one_of_each)
    in_layers = [id(p) for layer in encoder.layers() for p in layer.parameters()]
    assert sorted(in_layers) == sorted(id(p) for p in encoder.parameters())


def test_layers_run_from_the_input_to_the_deepest_map(one_of_each):
    encoder = encoder_of(one_of_each)
    first_of_each = [next(layer.parameters()) for layer in encoder.layers()]
    used = []
    for m in encoder.features(torch.randn(2, 1, *one_of_each[1])):
        gradients = torch.autograd.grad(
            m.sum(), first_of_each, retain_graph=True, allow_unused=True
        )
        reached = [gradient is not None for gradient in gradients]
        used.append(sum(reached))
        assert reached == sorted(reached, reverse=True)
    assert used == sorted(used)
    assert used[-1] == len(first_of_each)


def test_other_input_channels_change_the_stem_alone(one_of_each):
    few, many = (encoder_of(one_of_each, channels).state_dict() for channels in (1, 4))
    assert [name for name in few if few[name].shape != many[name].shape] == [
        encoder_of(one_of_each).stem_key
    ]
    stem = encoder_of(one_of_each).stem_key
    assert many[stem].ndim == 5
    assert many[stem].shape[1] == 4


def test_computing_again_in_place_of_keeping_changes_no_bit(one_of_each):
    plain = encoder_of(one_of_each).train()
    thrifty = copy.deepcopy(plain)
    thrifty.checkpointed = True
    x = torch.randn(2, 1, *one_of_each[1])
    calls = {}
    for encoder in (plain, thrifty):
        # A layer deep enough to be computed again, and which is called as a module.
        counted = encoder.layers()[2]
        calls[encoder] = 0

        def count(module, arguments, encoder=encoder):
            calls[encoder] += 1

        handle = counted.register_forward_pre_hook(count)
        sum(m.square().mean() for m in encoder.features(x)).backward()
        handle.remove()
    assert (calls[plain], calls[thrifty]) == (1, 2)
    for (name, one), two in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad), name
    for (name, one), two in zip(plain.named_buffers(), thrifty.buffers(), strict=True):
        assert torch.equal(one, two), name


def test_computing_again_keeps_less(one_of_each):
    held = {}
    for checkpointed in (False, True):
        encoder = encoder_of(one_of_each).train()
        encoder.checkpointed = checkpointed
        sizes: dict[int, int] = {}

        def pack(t, sizes=sizes):
            sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            out = encoder(torch.randn(2, 1, *one_of_each[1]))
        held[checkpointed] = sum(sizes.values())
        out.sum().backward()
    weights = sum(p.numel() * 4 for p in encoder.parameters())
    assert held[True] < max(held[False] - weights, 0.8 * held[False])


def test_half_precision_gives_about_the_same(one_of_each):
    encoder = encoder_of(one_of_each)
    x = torch.randn(2, 1, *one_of_each[1])
    full = encoder(x)
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder(x)
    half.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    assert nn.functional.cosine_similarity(half.float(), full).min() > 0.98
