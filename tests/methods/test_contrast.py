from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from medssl.methods.contrast import NOBODY, nt_xent, patients_to_compare


def units(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("patients", [[0, 1, 2, 3], [5, 5, 2, 3], [0, 0, 0, 1], [4, -1, 4, 2]])
@pytest.mark.parametrize("tau", [0.1, 0.5])
@pytest.mark.parametrize("more", [0, 5])
def test_nt_xent_is_the_naive_loop_over_pairs(naive_nt_xent, patients, tau, more):
    anchors, keys = units(8, 6), units(8 + more, 6)
    patient = torch.tensor(patients).repeat_interleave(2)
    key_patient = torch.cat([patient, torch.tensor([0, 5, -1, 7, 2])[:more]])
    loss, figures = nt_xent(anchors, keys, patient, key_patient, 0, tau)
    lists = [x.tolist() for x in (anchors, keys, patient, key_patient)]
    naive_loss, naive_accuracy = naive_nt_xent(*lists, tau)
    assert loss.item() == pytest.approx(naive_loss, rel=1e-9)
    assert figures["accuracy"].item() == pytest.approx(naive_accuracy)
    lists[:2] = [[[1.0]] * len(x) for x in (anchors, keys)]
    guess, _ = naive_nt_xent(*lists, tau)
    assert figures["chance"].item() == pytest.approx(guess)


def test_parts_of_the_anchors_average_to_the_whole():
    anchors, keys = units(2, 12, 6)
    patient = torch.tensor([0, 1, 0, NOBODY, 4, 5]).repeat_interleave(2)
    whole, _ = nt_xent(anchors, keys, patient, patient, 0, 0.1)
    parts = [
        nt_xent(anchors[i : i + 4], keys, patient[i : i + 4], patient, i, 0.1)[0] for i in (0, 4, 8)
    ]
    assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), rel=1e-9)


def test_crops_of_the_same_patient_do_not_repel():
    z = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
    patient = torch.tensor([0, 0, 1, 2]).repeat_interleave(2)
    unit = F.normalize(z, dim=1)
    loss, _ = nt_xent(unit[:2].detach(), unit, patient[:2], patient, 0, 0.1)
    (gradient,) = torch.autograd.grad(loss, z)
    assert (gradient[2:4] == 0).all(), "the other volume of the anchor's patient"
    assert (gradient[4:].abs().sum(dim=1) > 0).all(), "crops of other patients"


def test_without_negatives_there_is_nothing_to_learn():
    anchors = units(4, 6).requires_grad_()
    patient = torch.tensor([3, 3, 3, 3])
    loss, _ = nt_xent(anchors, anchors, patient, patient, 0, 0.1)
    loss.backward()
    assert loss == 0
    assert (anchors.grad == 0).all()


def test_equal_projections_find_no_twin():
    same = torch.ones(6, 4) / 2
    patient = torch.tensor([0, 0, 1, 1, 2, 2])
    loss, figures = nt_xent(same, same, patient, patient, 0, 0.1)
    assert figures["accuracy"] == 0
    assert loss.item() == figures["chance"].item() == pytest.approx(torch.tensor(5.0).log().item())


def test_a_volume_with_a_crop_of_air_is_nobody_s(make_batch):
    batch = make_batch(4, 2, 8, patients=[7, 8, 9, 7])
    batch["valid"][0, 0, :, 2:] = False
    batch["valid"][1, 0] = False
    assert patients_to_compare(batch).tolist() == [7, NOBODY, 9, 7]
    batch["body"] = batch["valid"].clone()
    batch["body"][2, 1] = False
    assert patients_to_compare(batch).tolist() == [7, NOBODY, NOBODY, 7]
