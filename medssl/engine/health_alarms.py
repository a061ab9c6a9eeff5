"""What a collapsed run looks like: a table of alarms, judged by the lines of metrics.jsonl alone.

So a resumed run is judged as an unbroken one is. An alarm needs two looks in a row, both after the
warm-up, `SOONEST` steps and a first part of the run: healthy runs were seen to draw embeddings and
projections almost to a point in their first dozens of steps, and to spread them again. Thresholds
for embeddings are relative to the look before the first step: what a random encoder makes of
similar scans already lies close together. Where contrast is one term of several, the run learns
from the others while that term is at chance, which is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Line = Mapping[str, float]

SOONEST = 100
"""Steps before which no look is judged, nor any in a shorter run."""

_COINCIDE = 0.1
_CLOSE = -0.005
_ON_A_POINT = -0.002
_ONE_AXIS = 0.05
_GUESS = 0.99
_NOT_LOWER = 0.99
_FEWEST_LINES = 10
_SOON, _LATE = 0.05, 0.2  # of the run


@dataclass(frozen=True)
class Past:
    """What is known at a look.

    Attributes:
        first: the look before the first step.
        now: this look.
        lines: lines of the training log before now.
        recent: those from the look before on.
    """

    first: Line
    now: Line
    lines: Sequence[Line]
    recent: Sequence[Line]

    def mean(self, name: str) -> float | None:
        """The mean of train/`name` since the look before; None where it is not logged."""
        return _mean(self.recent, name)

    @property
    def contrasts_alone(self) -> bool:
        """Whether the loss is a contrastive one and nothing else."""
        return self.mean("chance") is not None and self.mean("contrast") is None

    @property
    def contrasts_among_tasks(self) -> bool:
        """Whether one of several tasks has a contrastive loss."""
        return any(name.endswith("/chance") for line in self.recent for name in line)


@dataclass(frozen=True)
class Alarm:
    """One kind of failure.

    Attributes:
        name: what it is called in errors, the report and MLflow.
        watches: the figures that it looks at.
        threshold: when it holds, in words.
        why: what it means, and who described it.
        after: share of the run's steps that pass before it is judged.
        remedy: what to try.
        holds: what was found, in words with numbers; None: nothing.
    """

    name: str
    watches: str
    threshold: str
    why: str
    after: float
    remedy: str
    holds: Callable[[Past], str | None]


@dataclass(frozen=True)
class Raised:
    """An alarm that holds, the step at which it was certain, and what was found."""

    alarm: Alarm
    step: int
    found: str

    @property
    def line(self) -> str:
        """For an error or a page."""
        return f"{self.alarm.name} at step {self.step}: {self.found}"


def looks_of(rows: Sequence[Line]) -> list[Line]:
    """The lines of metrics.jsonl that are looks."""
    return [row for row in rows if "health/rank" in row]


def judge(rows: Sequence[Line], warmup_steps: int, steps: int) -> Raised | None:
    """The alarm that is first to hold at two looks in a row, or None.

    Args:
        rows: lines of metrics.jsonl, from the look at step 0 on.
        warmup_steps: of the learning rate; looks before its end are not judged.
        steps: of the whole run.
    """
    looks = looks_of(rows)
    lines = [row for row in rows if "train/loss" in row]
    for number in range(2, len(looks)):
        for alarm in ALARMS:
            if looks[number - 1]["step"] < max(SOONEST, warmup_steps, alarm.after * steps):
                continue
            found = [alarm.holds(_past(looks, lines, n)) for n in (number - 1, number)]
            if found[0] and found[1]:
                return Raised(alarm, int(looks[number]["step"]), found[1])
    return None


def _past(looks: Sequence[Line], lines: Sequence[Line], number: int) -> Past:
    begin, end = looks[number - 1]["step"], looks[number]["step"]
    so_far = [line for line in lines if line["step"] < end]  # at `end` it comes after the look
    recent = [line for line in so_far if line["step"] >= begin]
    return Past(looks[0], looks[number], so_far, recent)


def _mean(lines: Sequence[Line], name: str) -> float | None:
    values = [line[f"train/{name}"] for line in lines if f"train/{name}" in line]
    return sum(values) / len(values) if values else None


def _complete_collapse(past: Past) -> str | None:
    if "health/uniformity" not in past.now:
        return None
    now, first = (look["health/deviation"] for look in (past.now, past.first))
    uniformity = past.now["health/uniformity"]
    if now >= _COINCIDE * first or uniformity <= _CLOSE:
        return None
    return f"feature deviation {now:.2g}, before the first step {first:.2g}"


def _projections_coincide(past: Past) -> str | None:
    uniformity = past.mean("uniformity")
    if uniformity is None or not past.contrasts_alone or uniformity <= _ON_A_POINT:
        return None
    return f"uniformity of the projections {uniformity:.2g}, where 0 is a single point"


def _dimensional_collapse(past: Past) -> str | None:
    now, first = (look["health/rank"] for look in (past.now, past.first))
    if now - 1 >= _ONE_AXIS * (first - 1):
        return None
    return f"effective rank {now:.3g}, before the first step {first:.3g}"


def _chance(past: Past) -> str | None:
    loss, chance = past.mean("loss"), past.mean("chance")
    if not past.contrasts_alone or not chance or loss is None or loss < _GUESS * chance:
        return None
    return f"contrastive loss {loss:.4g}, a guess has {chance:.4g}"


def _not_falling(past: Past) -> str | None:
    if len(past.lines) < _FEWEST_LINES:
        return None
    if past.contrasts_alone or past.contrasts_among_tasks:
        return None  # with more candidates, as a queue fills, it rises
    first = past.lines[0]["train/loss"]
    lowest = min(line["train/loss"] for line in past.lines[1:])
    if lowest <= first - (1 - _NOT_LOWER) * abs(first):
        return None
    return f"the lowest loss was {lowest:.4g}, the first {first:.4g}"


ALARMS = (
    Alarm(
        "complete collapse",
        "feature deviation and uniformity of the embeddings",
        f"deviation below {_COINCIDE:.0%} of the first look's, and uniformity above {_CLOSE}",
        "All volumes get the same embedding: views agree because everything does. Nothing pushes "
        "volumes apart (Chen and He 2021, section 4.1).",
        _SOON,
        "check what keeps volumes apart (negatives, method.temperature, a stopped gradient), lower "
        "optim.lr or enlarge batch_size",
        _complete_collapse,
    ),
    Alarm(
        "projections coincide",
        "uniformity of the projections that a contrastive method compares",
        f"mean since the look before above {_ON_A_POINT}",
        "What the loss compares has shrunk to a point, so that hardly a gradient reaches the "
        "encoder, whether or not its own embeddings still differ (Wang and Isola 2020, section 4).",
        _LATE,
        "check method.temperature and what keeps volumes apart, or lower optim.lr",
        _projections_coincide,
    ),
    Alarm(
        "dimensional collapse",
        "RankMe of the embeddings",
        f"above 1 by less than {_ONE_AXIS:.0%} of what the first look's was",
        "The embeddings lie along one axis, whatever the encoder's width (Jing et al. 2022; "
        "Garrido et al. 2023).",
        _SOON,
        "lower optim.lr or optim.weight_decay, widen the projector, or augment less strongly",
        _dimensional_collapse,
    ),
    Alarm(
        "loss at chance",
        "the loss of a contrastive method, and its value for a guess among the candidates",
        f"mean since the look before at least {_GUESS:.0%} of a guess's",
        "The network cannot tell a view's twin from other patients' views: the logarithm of the "
        "number of candidates is what equal similarities give.",
        _LATE,
        "check method.temperature (0.05 to 0.5 is usual), raise optim.lr, or augment less strongly",
        _chance,
    ),
    Alarm(
        "loss not falling",
        "the loss, unless a contrastive one is all of it or one of several tasks",
        f"no line of the log is {1 - _NOT_LOWER:.0%} below the first, of {_FEWEST_LINES} or more",
        "Nothing is learned: the learning rate is far too low or too high, or the task gives no "
        "signal.",
        _LATE,
        "change optim.lr by a factor of ten, and look at the patches with medssl show",
        _not_falling,
    ),
)


def page() -> str:
    """The alarms as a reference page."""
    lines = [
        "# Alarms of a pretraining",
        "",
        "Made by `docs/make_reference.py` from `medssl/engine/health_alarms.py`; do not edit.",
        "",
        "A run that raises one is stopped with exit code 1 and a message that begins with the "
        "alarm's name, unless `health.stop` is false; MLflow has the name in the tag "
        "`medssl.alarm`. An alarm has to hold at two looks in a row, both after the learning "
        f"rate's warm-up, after {SOONEST} steps, and after the share of the run's steps that the "
        "table gives. What the figures are and what to do: [health](../explanation/health.md).",
        "",
        "| alarm | watches | holds where | after | what it means | what to try |",
        "|---|---|---|---|---|---|",
    ]
    for alarm in ALARMS:
        cells = (
            f"`{alarm.name}`",
            alarm.watches,
            alarm.threshold,
            f"{alarm.after:.0%}",
            alarm.why,
            alarm.remedy,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
