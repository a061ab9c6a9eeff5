from __future__ import annotations

import math

import pytest
import torch

from medssl.config import parse_config
from medssl.engine.checkpoint import load_checkpoint, save_checkpoint
from medssl.errors import ConfigError
from medssl.methods.catalogue import METHODS, augments_intensity
from medssl.methods.config import MultitaskConfig
from medssl.methods.multitask import Multitask
from medssl.models.build import build_encoder
from medssl.models.config import SegResNetConfig, ViTConfig
from medssl.models.weights import save_weights

CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
VIT = ViTConfig(token_size=4, dim=24, depth=2, heads=2)
PATCH = (16, 16, 16)
SMALL = {
    "moco": {"hidden_dim": 16, "output_dim": 8, "queue_size": 8, "overlap": [0.4, 0.8]},
    "simclr": {"hidden_dim": 16, "output_dim": 8, "overlap": [0.4, 0.8]},
    "hybrid": {"hidden_dim": 16, "output_dim": 8},
}


def config_of(*tasks, weighting="fixed") -> MultitaskConfig:
    """Each task is a name, or a name and a weight."""
    entries = []
    for task in tasks:
        name, weight = task if isinstance(task, tuple) else (task, 1.0)
        entries.append({"method": {"name": name, **SMALL.get(name, {})}, "weight": weight})
    values = {"name": "multitask", "tasks": entries, "weighting": weighting}
    return parse_config(MultitaskConfig, values)


def make(*tasks, model=CNN, **settings) -> Multitask:
    torch.manual_seed(0)
    return Multitask(config_of(*tasks, **settings), model, 1, PATCH, seed=3)


def alone(method: Multitask, number: int, name: str, model):
    """The method built by itself, given the same weights."""
    config = config_of(*[n.split("_")[0] for n in method.tasks]).tasks[number].method
    single = METHODS[config.name](config, model, 1, PATCH, 3)
    state = method.state_dict()
    own = {
        key.removeprefix(f"tasks.{name}."): value
        for key, value in state.items()
        if key.startswith(f"tasks.{name}.")
    }
    own |= {key: value for key, value in state.items() if key.startswith("encoder.")}
    single.load_state_dict(own)
    return single


def given_alone(batch, single):
    """The batch that a source draws for this method: its views, its intensities."""
    image = batch["image"] if single.intensity else batch["clean"]
    views = {n: v[:, : single.num_views] for n, v in batch.items() if v.ndim > 2}
    return {**batch, **views, "image": image[:, : single.num_views]}


@pytest.mark.parametrize("model", [CNN, VIT])
@pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
def test_the_loss_is_the_weighted_sum_of_each_method_alone(make_batch, model, weighting):
    tasks = [("mae", 0.5), ("simclr", 2.0), ("hybrid", 1.0), ("mae", 0.25)]
    method = make(*tasks, model=model, weighting=weighting)
    batch = make_batch(4, 2, 16)
    names = ["mae", "simclr", "hybrid", "mae_2"]
    assert list(method.tasks) == names
    variances = [1.0, 1.0, 1.0, 1.0]
    if weighting == "uncertainty":
        method.log_variance.data = torch.tensor([0.3, -1.0, 0.0, 2.0])
        variances = [math.exp(x) for x in (0.3, -1.0, 0.0, 2.0)]
    out = method(batch, 6)
    total = 0.0
    gradient = torch.zeros_like(method.encoder.stem.weight)
    for number, (name, (_, weight), variance) in enumerate(
        zip(names, tasks, variances, strict=True)
    ):
        single = alone(method, number, name, model)
        found = single(given_alone(batch, single), 6)
        scale = weight if weighting == "fixed" else weight / (2 * variance)
        constant = 0.0 if weighting == "fixed" else weight * math.log(math.sqrt(variance))
        total += scale * found["loss"].item() + constant
        (own,) = torch.autograd.grad(scale * found["loss"], single.encoder.stem.weight)
        gradient += own
        for figure, value in found.items():
            told = out[f"{name}/{figure}"]
            assert told.item() == pytest.approx(value.item(), rel=1e-4, abs=1e-6)
            assert not told.requires_grad
        if weighting == "uncertainty":
            assert out[f"{name}/weight"].item() == pytest.approx(scale, rel=1e-5)
    assert out["loss"].item() == pytest.approx(total, rel=1e-4)
    out["loss"].backward()
    assert torch.allclose(method.encoder.stem.weight.grad, gradient, rtol=1e-3, atol=1e-5)


def test_a_learned_variance_settles_at_its_loss(make_batch):
    """The minimum of loss / (2 variance) + log(variance) / 2 over the variance."""
    method = make(("simmim", 1.0), ("rotation", 3.0), weighting="uncertainty")
    batch = make_batch(4, 2, 16)
    out = method(batch, 0)
    method.log_variance.data = torch.stack([out["simmim/loss"], out["rotation/loss"]]).log()
    method(batch, 0)["loss"].backward()
    assert torch.allclose(method.log_variance.grad, torch.zeros(2), atol=1e-5)
    method.zero_grad()
    method.log_variance.data += torch.tensor([1.0, -1.0])
    method(batch, 0)["loss"].backward()
    assert method.log_variance.grad[0] > 0.1
    assert method.log_variance.grad[1] < -0.1


def test_the_encoder_is_there_once_and_each_method_trains_it(make_batch):
    method = make("mae", "moco", "rotation")
    names = list(method.state_dict())
    assert sum(name.endswith("stem.weight") for name in names) == 2  # the other is the teacher's
    assert all(task.encoder is method.encoder for task in method.tasks.values())
    parameters = [id(p) for p in method.parameters()]
    assert len(parameters) == len(set(parameters))
    batch = make_batch(4, 2, 16)
    for name, task in method.tasks.items():
        method.zero_grad()
        task(method.batch_of(task, batch), 0)["loss"].backward()
        assert method.encoder.stem.weight.grad.abs().max() > 0, name


@pytest.mark.parametrize("first", ["mae", "moco", "hybrid"])
def test_teachers_start_as_the_shared_encoder_and_follow_it(make_batch, first):
    others = [name for name in ("mae", "moco", "hybrid") if name != first]
    method = make(first, *others)
    teachers = [method.tasks[name].teacher_encoder for name in ("moco", "hybrid")]
    started = {name: value.clone() for name, value in method.encoder.state_dict().items()}
    for teacher in teachers:
        assert teacher is not method.encoder
        assert all(torch.equal(teacher.state_dict()[n], v) for n, v in started.items())
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    method(make_batch(4, 2, 16), 0)["loss"].backward()
    optimiser.step()
    method.after_step(0, 10)
    for teacher, momentum in zip(teachers, (0.99, 0.995), strict=True):
        for name, student in method.encoder.named_parameters():
            expected = momentum * started[name] + (1 - momentum) * student
            assert torch.allclose(teacher.state_dict()[name], expected, atol=1e-7)
    assert (method.tasks["moco"].queue.patient >= 0).sum() == 8


def test_a_distilling_teacher_stays_what_it_was_pretrained_to_be(make_batch, tmp_path):
    torch.manual_seed(9)
    path = tmp_path / "teacher.safetensors"
    state = {f"encoder.{n}": v for n, v in build_encoder(CNN, 1, PATCH).state_dict().items()}
    save_weights(path, state, {"model": CNN.model_dump_json()})
    tasks = [
        {"method": {"name": "rotation"}},
        {"method": {"name": "distill", "teacher": str(path)}},
    ]
    config = parse_config(MultitaskConfig, {"tasks": tasks})
    method = Multitask(config, CNN, 1, PATCH, seed=0)
    taught = method.tasks["distill"].teacher.encoder.state_dict()
    assert all(torch.equal(value, state[f"encoder.{n}"]) for n, value in taught.items())
    assert method(make_batch(2, 1, 16), 0)["loss"].requires_grad


@pytest.mark.parametrize(
    ("tasks", "views", "intensity", "clean", "overlap"),
    [
        (("mae", "simmim"), 1, False, False, None),
        (("mae", "rotation"), 1, True, True, None),
        (("rotation", "simclr"), 2, True, False, (0.4, 0.8)),
        (("simclr", "moco", "mae"), 2, True, True, (0.4, 0.8)),
        (("rotation", "hybrid"), 2, True, True, (0.4, 0.8)),
    ],
)
def test_batches_are_what_the_most_demanding_method_asks_for(
    tasks, views, intensity, clean, overlap
):
    method = make(*tasks)
    assert (method.num_views, method.intensity) == (views, intensity)
    assert (method.clean, method.overlap) == (clean, overlap)
    assert augments_intensity(config_of(*tasks)) == intensity


def test_a_method_without_augmented_intensities_never_sees_them(make_batch):
    method = make("mae", "simmim", "rotation")
    batch = make_batch(2, 1, 16)
    first = method(batch, 0)
    batch["image"] = batch["image"] * 3 + 1
    second = method(batch, 0)
    for name in ("mae", "simmim"):
        assert torch.equal(first[f"{name}/loss"], second[f"{name}/loss"])
    assert first["rotation/loss"] != second["rotation/loss"]


def test_the_last_patches_are_images_where_no_method_wants_them_augmented(make_batch):
    method = make("mae", "simmim")
    batch = make_batch(2, 1, 16)
    del batch["clean"]
    assert torch.isfinite(method(batch, 0)["loss"])


def test_contradicting_overlaps_are_refused_by_name():
    values = {
        "tasks": [
            {"method": {"name": "simclr", "overlap": [0.4, 1.0]}},
            {"method": {"name": "hybrid", "overlap": [0.4, 0.8]}},
        ]
    }
    config = parse_config(MultitaskConfig, values)
    with pytest.raises(ConfigError, match=r"simclr 0.4 to 1.0, hybrid 0.4 to 0.8\); set the same"):
        Multitask(config, CNN, 1, PATCH, seed=0)


def test_a_sum_in_a_sum_is_refused_and_so_is_one_method():
    inner = {"name": "multitask", "tasks": [{"method": {"name": "mae"}}] * 2}
    with pytest.raises(ConfigError, match=r"tasks.0.method.name: one of .*given: 'multitask'"):
        parse_config(MultitaskConfig, {"tasks": [{"method": inner}, {"method": {"name": "mae"}}]})
    with pytest.raises(ConfigError, match="at least 2 items"):
        parse_config(MultitaskConfig, {"tasks": [{"method": {"name": "mae"}}]})


def test_a_wrong_key_inside_a_task_is_named():
    values = {"tasks": [{"method": {"name": "mae", "mask_ration": 0.5}}, {"method": {}}]}
    with pytest.raises(ConfigError, match=r"mask_ration; did you mean mask_ratio\?"):
        parse_config(MultitaskConfig, values)


def test_checkpoints_hold_all_that_the_next_step_needs(make_batch, tmp_path):
    method = make("mae", "moco", "hybrid", weighting="uncertainty")
    optimiser = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-2)
    batch = make_batch(4, 2, 16)

    def advance(module, step):
        out = module(batch, step)
        optimiser.zero_grad()
        out["loss"].backward()
        optimiser.step()
        module.after_step(step, 4)
        return out

    for step in range(2):
        advance(method, step)
    save_checkpoint(tmp_path, 2, method.state_dict(), {})
    torch.manual_seed(8)
    config = config_of("mae", "moco", "hybrid", weighting="uncertainty")
    resumed = Multitask(config, CNN, 1, PATCH, seed=3)
    resumed.load_state_dict(load_checkpoint(tmp_path / "step-00000002")[0])
    expected, found = method(batch, 2), resumed(batch, 2)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_first_decoder_and_the_first_pictures_are_those_of_the_whole(make_batch):
    method = make("rotation", "simmim", "mae", "hybrid")
    assert method.trained_decoder is method.tasks["mae"].trained_decoder
    batch = make_batch(2, 2, 16)
    with torch.no_grad():
        seen = method.pictures(batch, 0)
        simmim = method.tasks["simmim"]
        expected = simmim.pictures({**batch, "image": batch["clean"][:, :1]}, 0)
    assert torch.equal(seen.output, expected.output)
    assert torch.equal(seen.target, batch["clean"][:, 0])
    state = method.export_state()
    decoder = method.tasks["mae"].trained_decoder.state_dict()
    assert all(torch.equal(state[f"decoder.{name}"], value) for name, value in decoder.items())
    assert {name.split(".")[0] for name in state} == {"encoder", "decoder"}
    assert make("rotation", "simclr").pictures(batch, 0) is None


def test_samples_on_two_ranks_average_to_one_rank(make_batch):
    method = make("mae", "simmim", "rotation", model=VIT)
    batch = make_batch(4, 1, 16)
    batch["valid"][1, 0, :, 4:] = False
    batch["valid"][3] = False
    whole = method(batch, 2)["loss"]
    halves = [
        method({name: value[part] for name, value in batch.items()}, 2)["loss"]
        for part in (slice(0, 2), slice(2, 4))
    ]
    assert torch.stack(halves).mean().item() == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.parametrize("model", [CNN, VIT])
def test_every_parameter_is_trained_in_float32_and_bfloat16(make_batch, model):
    method = make("mae", "moco", "rotation", model=model, weighting="uncertainty")
    batch = make_batch(4, 2, 16)
    out = method(batch, 0)
    out["loss"].backward()
    trained = {n: p for n, p in method.named_parameters() if p.requires_grad}
    assert [n for n, p in trained.items() if p.grad is None] == []
    with torch.autocast("cpu", torch.bfloat16):
        coarse = method(batch, 0)["loss"]
    assert coarse.dtype == torch.float32
    assert coarse.item() == pytest.approx(out["loss"].item(), rel=0.05)
