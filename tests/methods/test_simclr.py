from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from medssl.errors import TrainingError
from medssl.methods.config import SimCLRConfig
from medssl.methods.simclr import SimCLR
from medssl.models.config import SegResNetConfig, ViTConfig

VIT = ViTConfig(token_size=4, dim=24, depth=2, heads=2)
CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
SMALL = SimCLRConfig(hidden_dim=32, output_dim=16)


def test_a_batch_of_one_patient_by_chance_counts_as_0(make_batch):
    method = SimCLR(SMALL, VIT, 1, (8, 8, 8), seed=0)
    alone = make_batch(3, 2, 8, patients=[4, 4, 4])
    loss = method(alone, 0)["loss"]
    loss.backward()
    assert loss.item() == 0
    assert all((p.grad == 0).all() for p in method.parameters())
    assert method(make_batch(3, 2, 8, patients=[4, 4, 2]), 1)["loss"].item() > 0
    for step in range(2, 40):
        assert method(alone, step)["loss"].item() == 0, "others were there: it is chance"


def test_one_patient_alone_is_refused_once_chance_is_ruled_out(make_batch):
    method = SimCLR(SMALL, VIT, 1, (8, 8, 8), seed=0)
    batch = make_batch(8, 2, 8, patients=[4] * 8)
    for step in range(3):
        method(batch, step)
    with pytest.raises(TrainingError, match=r"simclr: .* of one patient \(32 so far\)"):
        method(batch, 3)


def test_one_volume_at_a_time_is_refused_at_once(make_batch):
    method = SimCLR(SMALL, VIT, 1, (8, 8, 8), seed=0)
    with pytest.raises(TrainingError, match=r"a larger batch_size, a smaller optim\.accumulate"):
        method(make_batch(1, 2, 8), 0)


@pytest.mark.parametrize("model", [VIT, CNN])
def test_the_method_is_the_loss_of_its_projections(make_batch, naive_nt_xent, model):
    torch.manual_seed(0)
    method = SimCLR(SMALL, model, 1, (8, 8, 8), seed=0)
    batch = make_batch(4, 2, 8, patients=[3, 3, 1, 2])
    z = method.projector(method.encoder.embed(batch["image"].flatten(0, 1)))
    out = method(batch, 0)
    patient = [3, 3, 3, 3, 1, 1, 2, 2]
    loss, accuracy = naive_nt_xent(z.tolist(), z.tolist(), patient, patient, 0.1)
    assert out["loss"].item() == pytest.approx(loss, rel=1e-4)
    assert out["accuracy"].item() == pytest.approx(accuracy)
    assert all(not value.requires_grad for name, value in out.items() if name != "loss")
    out["loss"].backward()
    assert [n for n, p in method.named_parameters() if p.grad is None] == []


def test_the_figures_are_their_formulas(make_batch):
    method = SimCLR(SMALL, VIT, 1, (8, 8, 8), seed=0)
    batch = make_batch(3, 2, 8)
    out = method(batch, 0)
    with torch.no_grad():
        embedded = method.encoder.embed(batch["image"].flatten(0, 1))
        z = F.normalize(method.projector(embedded), dim=1).double()
    apart = [float((z[i] - z[j]).square().sum()) for i in range(6) for j in range(i)]
    twins = [float((z[i] - z[i + 1]).square().sum()) for i in (0, 2, 4)]
    assert out["alignment"].item() == pytest.approx(sum(twins) / 3, rel=1e-4)
    uniformity = math.log(sum(math.exp(-2 * d) for d in apart) / len(apart))
    assert out["uniformity"].item() == pytest.approx(uniformity, rel=1e-4)
    unit = F.normalize(embedded, dim=1).double()
    spread = (unit - unit.mean(0)).square().mean(0).sqrt().mean() * 24**0.5
    assert out["feature_std"].item() == pytest.approx(spread.item(), rel=1e-4)


def test_bfloat16_leaves_the_loss_in_float32(make_batch):
    method = SimCLR(SMALL, CNN, 1, (8, 8, 8), seed=0)
    batch = make_batch(4, 2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = method(batch, 0)
    assert out["loss"].dtype == torch.float32
    assert out["loss"].item() == pytest.approx(method(batch, 0)["loss"].item(), rel=0.1)


@pytest.mark.parametrize(("model", "steps"), [(VIT, 30), (CNN, 40)])
def test_a_tiny_batch_is_overfitted(make_batch, model, steps):
    torch.manual_seed(0)
    method = SimCLR(SMALL, model, 1, (8, 8, 8), seed=0)
    optimiser = torch.optim.AdamW(method.parameters(), lr=2e-3)
    batch = make_batch(6, 2, 8)
    losses = []
    for step in range(steps):
        loss = method(batch, step)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
