"""The step loop that pretraining and fine-tuning share.

A step is a function of (weights, optimiser state, step number): the batch is drawn for the step,
and so is dropout. Resuming is loading both and setting the number; with the same number of
processes and threads the weights that come out are equal to the last bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from medssl import kernels
from medssl.augment.batch import READ_ON_CPU, Batch, SampleSource
from medssl.augment.loader import Loader
from medssl.engine import execution
from medssl.engine.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from medssl.engine.config import OptimConfig, RuntimeConfig
from medssl.engine.cost import Meter
from medssl.engine.distributed import World
from medssl.engine.guard import Guard, most_suspect, suspects
from medssl.engine.memory import shortage_told
from medssl.engine.parameter_groups import ParameterGroup, decayed_and_not
from medssl.engine.run_folder import RunFolder
from medssl.engine.schedule import warmup_cosine
from medssl.engine.seeding import seed_step
from medssl.engine.signals import StopRequest
from medssl.engine.step import backward, check_parts
from medssl.errors import CheckpointError, Interrupted, MedsslError, TrainingError
from medssl.methods.base import Method
from medssl.models.weights import save_weights
from medssl.progress import SILENT, Progress
from medssl.tracking import MetricLog


@dataclass(frozen=True)
class TrainOutcome:
    """What the loop did: the steps that it took, and what was selected (None: nothing was)."""

    steps: int
    seconds: float
    best_step: int | None
    best_value: float | None


def train(
    module: nn.Module,
    source: SampleSource,
    *,
    optim: OptimConfig,
    runtime: RuntimeConfig,
    steps: int,
    seed: int,
    run: RunFolder,
    world: World | None = None,
    tracker: MetricLog | None = None,
    progress: Progress = SILENT,
    what: str = "training",
    groups: Sequence[ParameterGroup] | None = None,
    validate: Callable[[int], dict[str, float]] | None = None,
    validate_every: int = 0,
    keep_best: str | None = None,
    patience: int | None = None,
    meter: Meter | None = None,
) -> TrainOutcome:
    """Train `module` for `steps` steps, resuming from the run's newest checkpoint.

    Args:
        module: `forward(batch, step)` gives {"loss": scalar, and detached figures}.
        validate: called by the leading process every `validate_every` steps and after the last,
            with the number of steps taken; the others pass one too, and wait. A MedsslError that
            it raises is raised in every process.
        keep_best: the metric of `validate` whose highest value decides which weights are kept in
            checkpoints/best.safetensors. The last ones are in checkpoints/last.safetensors.
        patience: training ends early once this many calls of `validate` in a row gave no higher
            value of `keep_best`; None: it does not.
        meter: the leading process's, entered by the caller; each checkpoint keeps what it has
            measured, and a resumed run counts on from there.

    Raises:
        ConfigError: a batch cannot be cut into as many equal parts as asked for.
        TrainingError: the loss or the gradient is not finite, for the second time.
        CheckpointError: the checkpoint does not fit the network.
        OutOfMemory: network and batch are too large for the device.
        Interrupted: SIGTERM or SIGUSR1 came to one of the processes; a checkpoint is written.
    """
    loop = _Loop(module, source, optim, runtime, steps, seed, run, world, tracker, groups, meter)
    if loop.world.leads and kernels.library() is None:
        run.log(
            "patches are drawn without compiled loops, several times slower; install a C compiler, "
            "then run: python -m medssl.kernels.build"
        )
    loop.resume()
    progress.start(what, steps, done=loop.step)
    try:
        with shortage_told(), StopRequest() as stop:
            loop.go(progress, stop, validate, validate_every, keep_best, patience)
    finally:
        progress.finish()
        loop.parallel = loop.module  # lets go of what ties the processes together
    return TrainOutcome(loop.step, loop.seconds, loop.best_step, loop.best_value)


class _Loop:
    """State of one training: what is loaded, advanced and saved."""

    def __init__(
        self,
        module: nn.Module,
        source: SampleSource,
        optim: OptimConfig,
        runtime: RuntimeConfig,
        steps: int,
        seed: int,
        run: RunFolder,
        world: World | None,
        tracker: MetricLog | None,
        groups: Sequence[ParameterGroup] | None,
        meter: Meter | None,
    ) -> None:
        if runtime.threads is not None:
            torch.set_num_threads(runtime.threads)
        self.world = world or World(0, 1, default_device())
        self.source, self.optim, self.runtime = source, optim, runtime
        self.steps, self.seed, self.run, self.tracker = steps, seed, run, tracker
        self.meter = meter
        check_parts(source.global_batch, self.world.size, optim.accumulate)
        self.module = module.to(self.world.device)
        execution.set_up(self.module, runtime)
        self.parallel = self.world.parallel(self.module)
        self.groups = groups or [ParameterGroup(list(module.parameters()))]
        self.optimiser = torch.optim.AdamW(
            decayed_and_not(self.groups, optim.weight_decay), lr=optim.lr, betas=optim.betas
        )
        self.step = 0
        self.seconds = 0.0
        self.best_step: int | None = None
        self.best_value: float | None = None
        self.looks_in_vain = 0
        self.guard = Guard()
        # What a forward pass leaves in batch norms, which a skipped step must not.
        self._statistics = [
            b for m in self.module.modules() if isinstance(m, _NormBase) for b in m.buffers()
        ]
        self._window: dict[str, Tensor] = {}
        self._window_steps = 0

    def resume(self) -> None:
        """Load the checkpoint that the leading process found, in every process."""
        found = latest_checkpoint(self.run.checkpoints) if self.world.leads else None
        path = self.world.agreed(found)
        if path is None:
            if self.world.leads:
                self.run.forget_metrics_after(0)
            return
        weights, training = load_checkpoint(path)
        try:
            self.module.load_state_dict(weights)
            self.optimiser.load_state_dict(training["optimiser"])
            self.guard.load_state_dict(training["guard"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"checkpoint {path} does not fit this network") from error
        self.step = int(training["step"])
        self.seconds = float(training["seconds"])
        self.best_step, self.best_value = training["best_step"], training["best_value"]
        self.looks_in_vain = int(training.get("looks_in_vain", 0))
        if self.meter is not None and training.get("cost") is not None:
            self.meter.load_state_dict(training["cost"])
        if self.world.leads:
            self.run.forget_metrics_after(self.step)
            self.run.log(f"resumed at step {self.step}")

    def go(
        self,
        progress: Progress,
        stop: StopRequest,
        validate: Callable[[int], dict[str, float]] | None,
        validate_every: int,
        keep_best: str | None,
        patience: int | None,
    ) -> None:
        self.parallel.train()
        on_gpu = self.world.device.type == "cuda"
        loader = Loader(
            self.source,
            self.world.rank,
            self.world.size,
            num_workers=self.runtime.num_workers,
            finish=not on_gpu,
            pin_memory=on_gpu,
        )
        try:
            began = time.monotonic()
            # A run that was killed after its patience ended has nothing left to do.
            end = self.step if self._gives_up(patience) else self.steps
            for step, batch in loader.batches(self.step, end):
                stopping = self._advance(batch, step, stop)
                self.step = step + 1
                progress.advance(1)
                last = self.step == self.steps
                if validate and (last or (validate_every and self.step % validate_every == 0)):
                    self._validate(validate, keep_best)
                    last = last or self._gives_up(patience)
                save = last or stopping or self.step % self.runtime.checkpoint_every == 0
                if save or self.step % self.runtime.log_every == 0:
                    now = time.monotonic()
                    self.seconds += now - began
                    began = now
                    progress.advance(0, **self._log())
                if save:
                    self._save()
                if last:
                    break
                if stopping:
                    self._leave()
        finally:
            loader.close()
        if self.guard.skipped == self.step:
            raise TrainingError("no step was taken: the loss was not finite; see run.log")
        if self.world.leads:
            if self.step < self.steps:
                self.run.log(
                    f"ended early after step {self.step}: {self.looks_in_vain} looks at the "
                    f"validation part without a higher {keep_best}"
                )
            save_weights(self.run.checkpoints / "last.safetensors", self.module.state_dict(), {})

    def _advance(self, batch: Batch, step: int, stop: StopRequest) -> bool:
        """One optimiser step on this process's part of the batch; True: the run is to stop."""
        device = self.world.device
        if device.type == "cuda":
            batch = {
                name: value if name in READ_ON_CPU else value.to(device, non_blocking=True)
                for name, value in batch.items()
            }
            self.source.finish(batch, step)
        self._set_learning_rates(step)
        seed_step(self.seed, step, self.world.rank)
        statistics = [buffer.clone() for buffer in self._statistics]
        self.optimiser.zero_grad(set_to_none=True)
        figures, losses = backward(
            self.parallel, batch, step, self.optim.accumulate, self.runtime.precision
        )
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.optim.clip_norm)
        # The host waits here for a GPU, once a step; the next batch is being drawn meanwhile.
        flags = torch.tensor([0.0, 0.0, float(stop.requested)], device=device)
        flags[0], flags[1] = ~losses.isfinite().all(), ~norm.isfinite()
        bad_loss, bad_gradient, stopping = self.world.any(flags)
        if bad_loss or bad_gradient:
            for buffer, before in zip(self._statistics, statistics, strict=True):
                buffer.copy_(before)
            self._skip(batch, step, losses, "loss" if bad_loss else "gradient")
            return stopping
        self.optimiser.step()
        if isinstance(self.module, Method):
            with torch.no_grad():
                self.module.after_step(step, self.steps)
        for name, value in {**figures, "grad_norm": norm.detach().float()}.items():
            held = self._window.get(name)
            self._window[name] = value if held is None else held + value
        self._window_steps += 1
        return stopping

    def _skip(self, batch: Batch, step: int, losses: Tensor, what: str) -> None:
        """Take no step; every process comes here at once."""
        found = most_suspect(self.world.gathered(suspects(self.source, batch, losses)))
        try:
            line = self.guard.skip(step, what, found)
        except TrainingError:
            if self.world.leads:
                self.run.log(f"step {step} stopped the run: batch of {', '.join(found)}")
            raise
        if self.world.leads:
            self.run.log(line)
            self.run.write_metrics(step + 1, {"train/skipped_steps": float(self.guard.skipped)})

    def _leave(self) -> None:
        """End this process, with the others, once the leading one has written the checkpoint."""
        self.world.agreed(None)
        if self.world.leads:
            self.run.log(f"stopped by a signal after step {self.step}")
        raise Interrupted(
            f"stopped by a signal after step {self.step}, with a checkpoint; run the same command "
            "again to resume"
        )

    def _log(self) -> dict[str, float]:
        """Means since the last call, over all processes; written by the leading one."""
        if not self._window_steps:
            return {}  # all were skipped
        means = {
            f"train/{name}": self.world.mean(total / self._window_steps)
            for name, total in self._window.items()
        }
        self._window, self._window_steps = {}, 0
        means["train/lr"] = self.optimiser.param_groups[0]["lr"]
        self._record(means)
        return {"loss": means["train/loss"]}

    def _validate(self, validate: Callable[[int], dict[str, float]], keep_best: str | None) -> None:
        metrics: dict[str, float] = {}
        verdict: MedsslError | None = None
        if self.world.leads:
            self.module.eval()
            try:
                with torch.no_grad():
                    metrics = validate(self.step)
            except MedsslError as error:
                verdict = error
            self.module.train()
        verdict = self.world.agreed(verdict)
        if verdict is not None:
            raise verdict
        if not self.world.leads:
            return
        self._record(metrics)
        value = metrics.get(keep_best) if keep_best else None
        self.looks_in_vain += 1
        # A NaN (a class that validation lacks) is never better.
        if value is not None and value > (
            float("-inf") if self.best_value is None else self.best_value
        ):
            self.best_step, self.best_value = self.step, float(value)
            self.looks_in_vain = 0
            save_weights(self.run.checkpoints / "best.safetensors", self.module.state_dict(), {})

    def _gives_up(self, patience: int | None) -> bool:
        """Whether the leading process has looked in vain as often as patience allows."""
        if patience is None:
            return False
        gives_up: bool = self.world.agreed(self.looks_in_vain >= patience)
        return gives_up

    def _record(self, metrics: dict[str, float]) -> None:
        if self.world.leads:
            self.run.write_metrics(self.step, metrics)
            if self.tracker is not None:
                self.tracker.log(self.step, metrics)

    def _save(self) -> None:
        if self.world.leads:
            training: dict[str, Any] = {
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "guard": self.guard.state_dict(),
                "seconds": self.seconds,
                "best_step": self.best_step,
                "best_value": self.best_value,
                "looks_in_vain": self.looks_in_vain,
                "cost": None if self.meter is None else self.meter.state_dict(),
            }
            save_checkpoint(self.run.checkpoints, self.step, self.module.state_dict(), training)

    def _set_learning_rates(self, step: int) -> None:
        for group in self.optimiser.param_groups:
            start = group["start_step"]
            share = 0.0
            if step >= start:
                share = warmup_cosine(
                    step - start,
                    self.steps - start,
                    self.optim.warmup_steps,
                    self.optim.final_lr_factor,
                )
            group["lr"] = self.optim.lr * group["lr_factor"] * share


def default_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
