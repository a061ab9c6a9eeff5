"""Whether a pretraining run is learning something: looks on the way, and an early end if not.

The first look is taken before the first step. Only the leading process looks; the others wait for
it at their next step. Nothing that is trained changes by being looked at.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medssl.augment.batch import READ_ON_CPU
from medssl.engine.config import PretrainConfig
from medssl.engine.distributed import World
from medssl.engine.health_alarms import Raised, judge, looks_of
from medssl.engine.health_figures import figures_of
from medssl.engine.health_probe import Probe, draw_batch, draw_probe, embed, of_each_kind
from medssl.engine.precision import autocast
from medssl.engine.run_folder import RunFolder
from medssl.errors import CollapseError
from medssl.methods.base import Method, Pictures
from medssl.progress import Progress
from medssl.store import Store
from medssl.tracking import Tracker

if TYPE_CHECKING:
    import pandas as pd

_LOOKS = 20
_PICTURES = 4
_LARGEST_SHARE = 1 / 20
_FORWARD_SHARE = 1 / 3  # of a step's time, backward being twice as long


def steps_between_looks(config: PretrainConfig, volumes: int, num_views: int) -> int:
    """`health.every`, or the default that its description tells.

    Args:
        volumes: how many are looked at.
        num_views: patches of a volume in a training batch.
    """
    if config.health.every is not None:
        return config.health.every
    look = 2 * volumes * _FORWARD_SHARE
    step = config.batch_size * num_views
    return max(math.ceil(config.steps / _LOOKS), math.ceil(look / step / _LARGEST_SHARE))


@dataclass(frozen=True)
class Seen:
    """What a person is to look at when a run has ended.

    Attributes:
        embedded: (V, 2, K) float32 on the CPU, by the last weights.
        pictured: places in the probe of the volumes of `pictures`.
        pictures: None where the method has nothing to show.
        seconds: what the looks took the leading process, that of this call alone.
    """

    probe: Probe
    embedded: Tensor
    pictured: list[int]
    pictures: Pictures | None
    seconds: float


class Watch:
    """The looks of one run, on its leading process.

    Attributes:
        probe: what is looked at.
        every: steps between two looks.
        seconds: what they took this process.
    """

    def __init__(
        self,
        config: PretrainConfig,
        store: Store,
        probe: Probe,
        method: Method,
        run: RunFolder,
        world: World,
        tracker: Tracker,
        progress: Progress,
    ) -> None:
        self.config, self.store, self.probe, self.method = config, store, probe, method
        self.run, self.world, self.tracker, self.progress = run, world, tracker, progress
        self.every = steps_between_looks(config, len(probe), method.num_views)
        self.seconds = 0.0
        self._warned = self.raised() is not None

    def before_training(self) -> None:
        """Take the first look, unless an earlier process of this run has."""
        if looks_of(self.run.read_metrics()):
            return
        figures = self._figures()
        self.run.write_metrics(0, figures)
        self.tracker.log(0, figures)

    def __call__(self, step: int) -> dict[str, float]:
        """The figures after `step` steps, named health/*.

        Raises:
            CollapseError: an alarm holds, and the run is to stop for it; the figures are in the
                run's metrics then.
        """
        figures = self._figures()
        shown = {name: figures[f"health/{name}"] for name in ("rank", "deviation")}
        self.progress.advance(0, **shown)
        rows = [*self.run.read_metrics(), {"step": step, **figures}]
        raised = judge(rows, self.config.optim.warmup_steps, self.config.steps)
        if raised is not None and self.config.health.stop:
            self.run.write_metrics(step, figures)
            self.tracker.log(step, figures)
            self._tell(raised)
            raise CollapseError(
                f"pretraining was stopped, {raised.line}; {raised.alarm.remedy}, and run again "
                f"with another --out ({self.run.path / 'report.html'} shows the course; "
                "health.stop=false would let it go on)"
            )
        if raised is not None and not self._warned:
            self._warned = True
            self._tell(raised)
            self.progress.say(f"{raised.line}; it goes on, as health.stop is false")
        return figures

    def raised(self) -> Raised | None:
        """The alarm that the run's metrics say, if any."""
        warmup = self.config.optim.warmup_steps
        return judge(self.run.read_metrics(), warmup, self.config.steps)

    def embedded(self) -> Tensor:
        """(V, 2, K) float32 of the probe on the CPU."""
        at_once = max(1, self.config.batch_size * self.method.num_views // self.world.size // 2)
        return embed(
            self.method.encoder,
            self.probe.views,
            self.config.runtime.precision,
            self.world.device,
            at_once,
        )

    def seen(self) -> Seen:
        """Embeddings and pictures by the weights as they are now."""
        pictured = of_each_kind(self.probe, _PICTURES)
        pictures = self._pictures(self.probe.rows.iloc[pictured])
        return Seen(self.probe, self.embedded(), pictured, pictures, self.seconds)

    def _pictures(self, rows: pd.DataFrame) -> Pictures | None:
        batch = draw_batch(self.store, rows, self.config, self.method)
        device = self.world.device
        batch = {
            name: value if name in READ_ON_CPU else value.to(device)
            for name, value in batch.items()
        }
        was_training = self.method.training
        self.method.eval()
        with torch.no_grad(), autocast(self.config.runtime.precision, device):
            pictures = self.method.pictures(batch, self.config.steps)
        self.method.train(was_training)
        return pictures

    def _figures(self) -> dict[str, float]:
        began = time.monotonic()
        figures = figures_of(self.embedded(), self.probe)
        self.seconds += time.monotonic() - began
        return figures

    def _tell(self, raised: Raised) -> None:
        self.run.log(raised.line)
        self.tracker.tag("medssl.alarm", raised.alarm.name)


def watch_of(
    config: PretrainConfig,
    store: Store,
    rows: pd.DataFrame,
    method: Method,
    run: RunFolder,
    world: World,
    tracker: Tracker,
    progress: Progress,
) -> Watch | None:
    """The watch that the configuration asks for; None where it asks for none, or no two volumes."""
    if config.health.volumes == 0:
        return None
    if len(rows) < 2 or config.health.volumes < 2:
        run.log("health is not watched: that takes two volumes")
        return None
    threads = max(1, config.runtime.num_workers)
    probe = draw_probe(store, rows, config, threads)
    return Watch(config, store, probe, method, run, world, tracker, progress)
