from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from medssl.errors import TrainingError
from medssl.methods.config import SimCLRConfig
from medssl.methods.contrast import nt_xent
from medssl.methods.simclr import SimCLR
from medssl.models.config import SegResNetConfig, ViTConfig

VIT = ViTConfig(token_size=4, dim=24, depth=2, heads=2)
CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
SMALL = SimCLRConfig(hidden_dim=32, output_dim=16)


def naive_nt_xent(z: list[list[float]], patient: list[int], tau: float) -> float:
    """Chen et al. 2020, equation 1, pair by pair; twins are 2k and 2k + 1."""

    def similarity(i: int, j: int) -> float:
        dot = sum(a * b for a, b in zip(z[i], z[j], strict=True))
        return dot / math.hypot(*z[i]) / math.hypot(*z[j])

    total = 0.0
    for i in range(len(z)):
        twin = i + 1 if i % 2 == 0 else i - 1
        negatives = [k for k in range(len(z)) if patient[k] != patient[i]]
        below = sum(math.exp(similarity(i, k) / tau) for k in [twin, *negatives])
        total -= math.log(math.exp(similarity(i, twin) / tau) / below)
    return total / len(z)


@pytest.mark.parametrize("patients", [[0, 1, 2, 3], [5, 5, 2, 3], [0, 0, 0, 1]])
@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_nt_xent_is_the_naive_loop_over_pairs(patients, tau):
    z = torch.randn(8, 6, dtype=torch.float64)
    patient = torch.tensor(patients).repeat_interleave(2)
    unit = F.normalize(z, dim=1)
    loss = nt_xent(unit, unit, patient, patient, first_anchor=0, temperature=tau)
    assert loss.item() == pytest.approx(naive_nt_xent(z.tolist(), patient.tolist(), tau), rel=1e-9)


def test_parts_of_the_anchors_average_to_the_whole():
    unit = F.normalize(torch.randn(12, 6, dtype=torch.float64), dim=1)
    patient = torch.tensor([0, 1, 0, 3, 4, 5]).repeat_interleave(2)
    whole = nt_xent(unit, unit, patient, patient, 0, 0.1)
    parts = [nt_xent(unit[i : i + 4], unit, patient[i : i + 4], patient, i, 0.1) for i in (0, 4, 8)]
    assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), rel=1e-9)


def test_crops_of_the_same_patient_do_not_repel():
    z = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
    patient = torch.tensor([0, 0, 1, 2]).repeat_interleave(2)
    unit = F.normalize(z, dim=1)
    anchors = nt_xent(unit[:2], unit.detach(), patient[:2], patient, 0, 0.1)
    keys = nt_xent(unit[:2].detach(), unit, patient[:2], patient, 0, 0.1)
    assert anchors.requires_grad
    (gradient,) = torch.autograd.grad(keys, z)
    assert (gradient[2:4] == 0).all(), "the other volume of the anchor's patient"
    assert (gradient[4:].abs().sum(dim=1) > 0).all(), "crops of other patients"


def test_one_patient_alone_is_refused(make_batch):
    method = SimCLR(SMALL, VIT, 1, (8, 8, 8), seed=0)
    with pytest.raises(TrainingError, match="all crops of the batch are of one patient"):
        method(make_batch(3, 2, 8, patients=[4, 4, 4]), 0)


@pytest.mark.parametrize("model", [VIT, CNN])
def test_the_method_is_the_loss_of_its_projections(make_batch, model):
    torch.manual_seed(0)
    method = SimCLR(SMALL, model, 1, (8, 8, 8), seed=0)
    batch = make_batch(4, 2, 8, patients=[3, 3, 1, 2])
    z = method.projector(method.encoder.embed(batch["image"].flatten(0, 1)))
    out = method(batch, 0)
    naive = naive_nt_xent(z.tolist(), [3, 3, 3, 3, 1, 1, 2, 2], 0.1)
    assert out["loss"].item() == pytest.approx(naive, rel=1e-4)
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
