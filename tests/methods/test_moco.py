from __future__ import annotations

import copy

import pytest
import torch

from medssl.errors import TrainingError
from medssl.methods.config import MoCoConfig
from medssl.methods.contrast import NOBODY
from medssl.methods.moco import KeyQueue, MoCo
from medssl.models.config import SegResNetConfig, ViTConfig

VIT = ViTConfig(token_size=4, dim=24, depth=2, heads=2)
CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
SMALL = MoCoConfig(queue_size=10, hidden_dim=32, output_dim=16)


def build(config: MoCoConfig = SMALL, model=VIT) -> MoCo:
    torch.manual_seed(0)
    return MoCo(config, model, 1, (8, 8, 8), seed=0)


def train(method: MoCo, batches, first: int = 0, steps: int = 100, lr: float = 0.1) -> list[float]:
    """Plain gradient descent; the losses."""
    losses = []
    for step, batch in enumerate(batches, first):
        loss = method(batch, step)["loss"]
        method.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in method.parameters():
                if parameter.grad is not None:
                    parameter -= lr * parameter.grad
        method.after_step(step, steps)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("model", [VIT, CNN])
@pytest.mark.parametrize("tau", [0.2, 1.0])
def test_the_loss_is_the_naive_loop_over_batch_and_queue(make_batch, naive_nt_xent, model, tau):
    method = build(SMALL.model_copy(update={"temperature": tau}), model)
    train(method, [make_batch(3, 2, 8, [3, 7, 1]), make_batch(4, 2, 8, [3, 3, 9, 5])])
    batch = make_batch(4, 2, 8, patients=[3, 3, 1, 2])
    crops = batch["image"].flatten(0, 1)
    queries = method.projector(method.encoder.embed(crops)).tolist()
    keys = method.teacher_projector(method.teacher_encoder.embed(crops)).tolist()
    assert queries != keys
    queued = method.queue.patient.tolist()
    # Ten places; of the 14 keys pushed, in a circle, the first four are gone.
    assert queued == [9, 9, 5, 5, 1, 1, 3, 3, 3, 3]
    patient = [3, 3, 3, 3, 1, 1, 2, 2]
    keys += method.queue.keys.tolist()
    loss, accuracy = naive_nt_xent(queries, keys, patient, patient + queued, tau)
    out = method(batch, 2)
    assert out["loss"].item() == pytest.approx(loss, rel=1e-4)
    assert out["accuracy"].item() == pytest.approx(accuracy)
    assert all(not value.requires_grad for name, value in out.items() if name != "loss")


def test_only_the_batch_repels_while_the_queue_is_empty(make_batch, naive_nt_xent):
    method = build()
    batch = make_batch(3, 2, 8, patients=[0, 0, 1])
    z = method.projector(method.encoder.embed(batch["image"].flatten(0, 1))).tolist()
    patient = [0, 0, 0, 0, 1, 1]
    expected, _ = naive_nt_xent(z, z, patient, patient, 0.2)
    assert method(batch, 0)["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_the_patients_own_keys_in_the_queue_do_not_count(make_batch):
    method = build()
    train(method, [make_batch(4, 2, 8, patients=[0, 1, 0, 1])])
    method.eval()
    batch = make_batch(1, 2, 8, patients=[0])
    loss = method(batch, 1)["loss"].item()
    own = method.queue.patient == 0
    method.queue.keys[own] = torch.randn(4, 16)
    assert method(batch, 1)["loss"].item() == loss
    method.queue.keys[~own] *= -1
    assert method(batch, 1)["loss"].item() != loss
    method.queue.patient.fill_(0)
    assert method(batch, 1)["loss"].item() == 0, "nothing repels"


def test_only_the_student_has_gradients(make_batch):
    method = build()
    train(method, [make_batch(3, 2, 8)])
    method(make_batch(3, 2, 8), 1)["loss"].backward()
    without = {name for name, p in method.named_parameters() if p.grad is None}
    assert without == {n for n, _ in method.named_parameters() if n.startswith("teacher_")}


def test_a_queue_keeps_the_last_keys_in_a_circle():
    queue = KeyQueue(5, 1)
    pushed, number = [], 0
    for count in (2, 2, 3, 12, 1, 5, 4):
        keys = torch.arange(number, number + count, dtype=torch.float32)
        queue.push(keys[:, None], keys.long() * 10)
        pushed += keys.tolist()
        number += count
        expected: list[float] = [0.0] * 5
        for place, key in enumerate(pushed):
            expected[place % 5] = key
        assert queue.keys[:, 0].tolist() == expected
        valid = queue.patient != NOBODY
        assert int(valid.sum()) == min(5, len(pushed))
        assert (queue.patient[valid] == 10 * queue.keys[valid, 0].long()).all()
        assert int(queue.next) == len(pushed) % 5


def test_a_skipped_step_leaves_the_state_as_it_was(make_batch):
    method = build()
    train(method, [make_batch(2, 2, 8, [0, 1])])
    before = copy.deepcopy(method.state_dict())
    method(make_batch(3, 2, 8, [7, 8, 9]), 1)["loss"].backward()  # and no after_step
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    method(make_batch(2, 2, 8, [4, 5]), 2)["loss"].backward()
    method.after_step(2, 100)
    assert method.queue.patient.tolist() == [0, 0, 1, 1, 4, 4, 5, 5, NOBODY, NOBODY]


def test_a_look_in_evaluation_mode_queues_nothing(make_batch):
    method = build()
    method(make_batch(2, 2, 8, [0, 1]), 0)
    method.eval()
    method(make_batch(2, 2, 8, [8, 9]), 0)
    method.train()
    method.after_step(0, 100)
    assert method.queue.patient[:5].tolist() == [0, 0, 1, 1, NOBODY]


def test_parts_of_a_batch_enter_in_the_order_of_the_whole(make_batch):
    batch = make_batch(4, 2, 8, patients=[6, 2, 4, 0])
    whole, parts = build(), build()
    whole(batch, 0)
    for rows in ([2, 3], [0, 1]):
        parts({name: value[rows] for name, value in batch.items()}, 0)
    for method in (whole, parts):
        method.after_step(0, 100)
    assert whole.queue.patient.tolist() == parts.queue.patient.tolist()
    assert whole.queue.patient[:8].tolist() == [6, 6, 2, 2, 4, 4, 0, 0]
    assert torch.allclose(whole.queue.keys, parts.queue.keys, atol=1e-6)


def test_training_on_from_a_saved_state_is_bit_equal(make_batch):
    batches = [make_batch(3, 2, 8, [i, i + 1, i + 2]) for i in range(6)]
    unbroken = build()
    losses = train(unbroken, batches)
    first = build()
    train(first, batches[:3])
    first(batches[5], 3)  # lost with the process
    torch.manual_seed(99)
    second = MoCo(SMALL, VIT, 1, (8, 8, 8), seed=0)
    second.load_state_dict(first.state_dict())
    assert train(second, batches[3:], first=3) == losses[3:]
    resumed = second.state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in unbroken.state_dict().items())


def test_the_teacher_follows_by_the_momentum_of_the_step(make_batch):
    method = build(SMALL.model_copy(update={"momentum": 0.9}))
    teacher = method.teacher_encoder.stem.weight.clone()
    train(method, [make_batch(3, 2, 8)], first=50)
    student = method.encoder.stem.weight
    assert torch.allclose(method.teacher_encoder.stem.weight, 0.95 * teacher + 0.05 * student)


def test_crops_of_air_neither_attract_nor_repel(make_batch, naive_nt_xent):
    method = build()
    batch = make_batch(4, 2, 8, patients=[0, 1, 2, 3])
    batch["body"] = batch["valid"].clone()
    batch["body"][0, 1] = False
    batch["body"][3] = False
    z = method.projector(method.encoder.embed(batch["image"].flatten(0, 1))).tolist()
    patient = [-1, -1, 1, 1, 2, 2, -1, -1]
    expected, _ = naive_nt_xent(z, z, patient, patient, 0.2)
    assert method(batch, 0)["loss"].item() == pytest.approx(expected, rel=1e-4)
    method.after_step(0, 100)
    assert method.queue.patient.tolist() == [*patient, NOBODY, NOBODY]


def test_one_patient_alone_is_refused_once_chance_is_ruled_out(make_batch):
    method = build()
    batch = make_batch(8, 2, 8, patients=[4] * 8)
    assert train(method, [batch] * 3, lr=0) == [0, 0, 0], "so few may be one patient's"
    with pytest.raises(TrainingError, match=r"moco: .* of one patient \(32 so far\)"):
        method(batch, 3)


def test_bfloat16_leaves_the_loss_and_the_queue_in_float32(make_batch):
    method = build(model=CNN)
    batch = make_batch(4, 2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = method(batch, 0)
    method.after_step(0, 100)
    assert out["loss"].dtype == method.queue.keys.dtype == torch.float32
    assert out["loss"].item() == pytest.approx(build(model=CNN)(batch, 0)["loss"].item(), rel=0.1)


@pytest.mark.parametrize("model", [VIT, CNN])
def test_a_tiny_batch_is_overfitted(make_batch, model):
    config = SMALL.model_copy(update={"queue_size": 24, "momentum": 0.9, "temperature": 0.1})
    method = build(config, model)
    optimiser = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=2e-3)
    batch = make_batch(6, 2, 8)
    figures = []
    for step in range(40):
        out = method(batch, step)
        optimiser.zero_grad()
        out["loss"].backward()
        optimiser.step()
        method.after_step(step, 400)
        figures.append({name: value.item() for name, value in out.items()})
    # Alike, a twin and 35 others: log 31 with the queue full.
    assert max(f["loss"] for f in figures) > 2
    assert figures[-1]["loss"] < 0.2 * max(f["loss"] for f in figures)
    assert figures[-1]["accuracy"] == 1
