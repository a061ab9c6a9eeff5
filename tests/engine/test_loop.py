"""The step loop on a task small enough to know the answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from medssl import kernels
from medssl.augment.batch import Batch, SampleSource
from medssl.config import Config
from medssl.engine.config import OptimConfig, RuntimeConfig
from medssl.engine.loop import TrainOutcome, train
from medssl.engine.parameter_groups import ParameterGroup
from medssl.engine.run_folder import RunFolder
from medssl.errors import CheckpointError, ConfigError, OutOfMemory, TrainingError


class Line(nn.Module):
    """y = 2x - 1, to be found by a linear layer."""

    def __init__(self, width: int = 1, poison_at: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        self.norm = nn.BatchNorm1d(1, affine=False)
        self.poison_at = poison_at

    def forward(self, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        error = self.linear(batch["x"]) - (2 * batch["x"] - 1)
        if step in self.poison_at:
            error = error * float("nan")
        self.norm(error)
        return {"loss": error.square().mean()}


class Points(SampleSource):
    global_batch = 8

    def blank(self, count: int) -> Batch:
        return {"x": torch.empty(count, 1)}

    def fill(self, batch: Batch, row: int, step: int, index: int) -> None:
        generator = torch.Generator().manual_seed(1000 * step + index)
        batch["x"][row] = torch.rand(1, generator=generator) * 2 - 1

    def finish(self, batch: Batch, step: int) -> None:
        pass


class Nothing(Config):
    pass


def fit(
    folder: Path, module: nn.Module, steps: int = 300, accumulate: int = 1, **options: object
) -> TrainOutcome:
    run = RunFolder.open(folder, Nothing(), "test")
    try:
        return train(
            module,
            Points(),
            optim=OptimConfig(lr=0.1, weight_decay=0.0, warmup_steps=5, accumulate=accumulate),
            runtime=RuntimeConfig(
                num_workers=0, precision="fp32", threads=1, checkpoint_every=50, log_every=10
            ),
            steps=steps,
            seed=0,
            run=run,
            **options,  # type: ignore[arg-type]
        )
    finally:
        run.close()


def test_finds_the_line_and_says_so(tmp_path: Path) -> None:
    line = Line()
    fit(tmp_path / "r", line)
    assert line.linear.weight.item() == pytest.approx(2, abs=0.02)
    assert line.linear.bias.item() == pytest.approx(-1, abs=0.02)
    losses = [
        r["train/loss"]
        for r in RunFolder(tmp_path / "r", "test", None).read_metrics()
    ]  # fmt: skip
    assert losses[-1] < 1e-3 < losses[0]


def test_one_step_that_is_not_finite_is_skipped(tmp_path: Path) -> None:
    line = Line(poison_at=(3,))
    fit(tmp_path / "r", line, steps=4)
    log = (tmp_path / "r" / "run.log").read_text()
    assert "step 3 skipped: its loss is not finite; batch of sample 0, sample 1" in log
    rows = RunFolder(tmp_path / "r", "test", None).read_metrics()
    assert {"step": 4, "train/skipped_steps": 1.0} in rows
    assert all(torch.isfinite(value).all() for value in line.state_dict().values())


def test_a_skipped_step_leaves_weights_and_statistics_as_they_were(tmp_path: Path) -> None:
    line = Line(poison_at=(9,))
    seen: list[dict[str, torch.Tensor]] = []

    def validate(step: int) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in line.state_dict().items()})
        return {"val/x": 0.0}

    fit(tmp_path / "r", line, steps=12, validate=validate, validate_every=1)
    for name in seen[0]:
        assert torch.equal(seen[9][name], seen[8][name]), name
        assert not torch.equal(seen[10][name], seen[9][name]), name


def test_the_second_one_stops_the_run_before_it_is_saved(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"loss is not finite at step 72.*step 55 was skipped"):
        fit(tmp_path / "r", Line(poison_at=(55, 72)))
    names = [p.name for p in (tmp_path / "r" / "checkpoints").iterdir()]
    assert names == ["step-00000050"]
    # The skipped step is in the next checkpoint too, so that a resumed run counts on.
    with pytest.raises(TrainingError, match=r"at step 130.*step 45 was skipped"):
        fit(tmp_path / "q", Line(poison_at=(45, 130)))
    with pytest.raises(TrainingError, match=r"at step 130.*step 45 was skipped"):
        fit(tmp_path / "q", Line(poison_at=(130,)))


def test_a_gradient_that_is_not_finite_is_skipped(tmp_path: Path) -> None:
    class Steep(Line):
        def forward(self, batch: Batch, step: int) -> dict[str, torch.Tensor]:
            loss = super().forward(batch, step)["loss"]
            if step == 1:  # the root's value is finite at 0, and its slope is not
                loss = loss + (self.linear.bias * 0.0).sum().sqrt()
            return {"loss": loss}

    steep = Steep()
    fit(tmp_path / "r", steep, steps=3)
    assert "step 1 skipped: its gradient" in (tmp_path / "r" / "run.log").read_text()
    assert torch.isfinite(steep.linear.bias).all()


def test_parts_add_up_to_the_whole_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole, parts = Line(), Line()
    parts.load_state_dict(whole.state_dict())
    fit(tmp_path / "whole", whole, steps=40)
    fit(tmp_path / "parts", parts, steps=40, accumulate=4)
    torch.testing.assert_close(parts.linear.weight, whole.linear.weight, rtol=1e-4, atol=1e-5)
    rows = [RunFolder(tmp_path / name, "test", None).read_metrics() for name in ("whole", "parts")]
    for one, other in zip(*rows, strict=True):
        assert other["train/loss"] == pytest.approx(one["train/loss"], rel=1e-3)
        assert other["train/grad_norm"] == pytest.approx(one["train/grad_norm"], rel=1e-3)


def test_a_batch_that_does_not_divide_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_size 8 .* 3 parts each \(optim.accumulate\)"):
        fit(tmp_path / "r", Line(), accumulate=3)


class Greedy(Line):
    """More than any machine has, asked of torch; or numpy's way to say so."""

    def __init__(self, error: type[Exception] | None = None) -> None:
        super().__init__()
        self.error = error

    def forward(self, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        if self.error:
            raise self.error("something else")
        return {"loss": torch.empty(10**15).sum()}


def test_too_little_memory_is_told_with_what_to_change(tmp_path: Path) -> None:
    for name, module in (("torch", Greedy()), ("numpy", Greedy(MemoryError))):
        with pytest.raises(OutOfMemory, match=r"lower batch_size or .* with another --out"):
            fit(tmp_path / name, module)
    with pytest.raises(RuntimeError, match="something else"):
        fit(tmp_path / "other", Greedy(RuntimeError))


def test_best_weights_are_those_of_the_best_validation(tmp_path: Path) -> None:
    line = Line()
    values = iter([0.1, 0.9, 0.5, float("nan"), 0.2, 0.3])
    seen, steps = [], []

    def validate(step: int) -> dict[str, float]:
        steps.append(step)
        seen.append(line.linear.weight.item())
        return {"val/score": next(values)}

    options = {"validate": validate, "validate_every": 50, "keep_best": "val/score"}
    outcome = fit(tmp_path / "r", line, **options)
    assert (outcome.best_step, outcome.best_value) == (100, 0.9)
    assert steps == [50, 100, 150, 200, 250, 300]
    from safetensors.torch import load_file

    best = load_file(tmp_path / "r" / "checkpoints" / "best.safetensors")
    assert best["linear.weight"].item() == seen[1]


def test_patience_counts_looks_without_a_higher_value_and_survives_a_kill(tmp_path: Path) -> None:
    values = {10: 0.1, 20: 0.4, 30: 0.4, 40: float("nan"), 50: 0.5, 60: 0.2, 70: 0.3, 80: 0.5}
    looks: list[int] = []

    def validate(step: int) -> dict[str, float]:
        looks.append(step)
        if step == 70 and len(looks) == 7:
            raise KeyboardInterrupt
        return {"val": values[step]}

    options = {"validate": validate, "validate_every": 10, "keep_best": "val", "patience": 3}
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "r", Line(), **options)
    # Two looks in vain at 30 and 40 are forgotten at 50, where the checkpoint is.
    outcome = fit(tmp_path / "r", Line(), **options)
    assert looks == [10, 20, 30, 40, 50, 60, 70, 60, 70, 80]
    assert (outcome.steps, outcome.best_step, outcome.best_value) == (80, 50, 0.5)
    assert "ended early after step 80" in (tmp_path / "r" / "run.log").read_text()
    # Taken up once more there is nothing to do.
    assert fit(tmp_path / "r", Line(), **options) == outcome
    assert len(looks) == 10


def test_a_group_starts_late_and_learns_slower(tmp_path: Path) -> None:
    line = Line()
    before = line.linear.bias.item()
    groups = [
        ParameterGroup([line.linear.weight]),
        ParameterGroup([line.linear.bias], lr_factor=0.1, start_step=20),
    ]
    fit(tmp_path / "r", line, steps=20 + 1, groups=groups)
    assert abs(line.linear.bias.item() - before) <= 0.1 * 0.1 + 1e-6
    assert line.linear.weight.item() != pytest.approx(before)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    fit(tmp_path / "r", Line(), steps=50)
    with pytest.raises(CheckpointError, match="does not fit"):
        fit(tmp_path / "r", Line(width=2), steps=60)


def test_the_log_says_when_patches_are_drawn_slowly(tmp_path: Path) -> None:
    with kernels.disabled():
        fit(tmp_path / "run", Line(), steps=1)
    assert "python -m medssl.kernels.build" in (tmp_path / "run" / "run.log").read_text()
