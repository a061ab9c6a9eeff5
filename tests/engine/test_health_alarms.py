"""Alarms on courses that are known: measured healthy ones, and collapsed ones."""

from __future__ import annotations

from typing import Any

import pytest

from medssl.engine.health_alarms import ALARMS, SOONEST, Line, judge

# (effective rank, deviation, uniformity) every ten steps of real runs on scans of several
# modalities, segresnet of 8 filters, 16 voxels of 6 mm: all of them healthy.
HEALTHY: dict[str, list[tuple[float, float, float]]] = {
    "mae": [
        (8.502, 0.291, -0.3003), (3.725, 0.147, -0.1015), (2.94, 0.1262, -0.0817),
        (2.981, 0.137, -0.0967), (2.675, 0.1029, -0.0565), (3.029, 0.1453, -0.1007),
        (3.605, 0.1799, -0.1494), (3.356, 0.1716, -0.1306), (3.422, 0.1767, -0.1369),
    ],
    "mae, one anatomy": [
        (8.666, 0.2117, -0.199), (4.013, 0.0956, -0.0444), (2.223, 0.0493, -0.013),
        (1.999, 0.0471, -0.0122), (2.093, 0.0631, -0.0226), (2.465, 0.0894, -0.044),
        (2.815, 0.1302, -0.0869), (3.236, 0.1565, -0.1283),
    ],
    "simclr": [
        (8.502, 0.291, -0.3003), (5.14, 0.3989, -0.4546), (4.369, 0.4318, -0.5513),
        (3.702, 0.5201, -0.6016), (2.94, 0.5594, -0.5002), (3.139, 0.425, -0.4796),
        (2.77, 0.4578, -0.4567), (2.851, 0.4796, -0.4791),
    ],
    "moco": [
        (8.502, 0.291, -0.3003), (5.591, 0.4907, -0.5709), (3.566, 0.4713, -0.44),
        (3.149, 0.5816, -0.5386), (3.172, 0.5241, -0.5161), (3.457, 0.5925, -0.5713),
    ],
}  # fmt: skip
COLLAPSED = [
    (7.864, 0.277, -0.2989), (1.607, 0.0313, -0.0052), (1.349, 0.019, -0.0022),
    (1.292, 0.015, -0.0014), (1.267, 0.0132, -0.0011),
]  # fmt: skip


# (loss, uniformity of the projections) every ten steps of real runs on scans, the first two of
# which collapse; of the hybrid the contrastive term and the whole loss, too.
COLLAPSED_SIMCLR = [
    (2.705, -0.0275), (2.704, -0.0007), (2.707, -0.0019), (2.682, -0.0218), (2.701, -0.0001),
    (2.704, -0.0001), (2.708, -0.0001), (2.701, -0.0001), (2.708, -0.0001), (2.708, -0.0001),
    (2.701, -0.0002), (2.708, -0.0003), (2.708, -0.0004),
]  # fmt: skip
COLLAPSED_MOCO = [
    (5.058, -0.0857), (4.744, -0.0015), (4.812, -0.0002), (5.016, -0.0001), (5.055, -0.0),
    (5.068, -0.0), (5.212, -0.0), (5.384, -0.0), (5.636, -0.0), (5.919, -0.0), (6.218, -0.0),
    (6.5, -0.0), (6.741, -0.0), (6.906, -0.0),
]  # fmt: skip
RECOVERED_MOCO = [
    (4.82, -0.0839), (4.401, -0.0038), (4.412, -0.2557), (4.438, -0.3931), (4.517, -0.3092),
    (5.029, -0.2592), (5.61, -0.1634), (6.234, -0.2483),
]  # fmt: skip
SLOW_SIMCLR = [
    (4.033, -0.3954), (3.977, -0.3666), (3.929, -0.374), (3.873, -0.3396), (3.76, -0.4374),
    (3.8, -0.4213), (3.921, -0.4252), (3.842, -0.2886), (3.879, -0.3005), (3.734, -0.4662),
    (3.812, -0.3874), (3.55, -0.614), (3.139, -1.0016),
]  # fmt: skip
RECOVERED_HYBRID = [
    (4.619, -0.1406, 3.434), (4.114, -0.0074, 3.434), (3.894, -0.0054, 3.434),
    (3.836, -0.011, 3.434), (3.553, -0.0146, 3.433), (3.398, -0.2991, 3.425),
    (3.338, -0.0357, 3.438), (3.263, -0.0322, 3.429), (3.278, -0.3475, 3.409),
    (3.089, -0.7416, 3.396), (3.192, -0.8964, 3.373), (3.171, -1.0215, 3.363),
]  # fmt: skip
EVERY = 50  # steps, of the looks below


def course(looks: list[tuple[float, float, float]], **train: Any) -> list[Line]:
    """Lines of metrics.jsonl; each figure of `train` is a function of the step."""
    lines: list[Line] = []
    for number, (rank, deviation, uniformity) in enumerate(looks):
        step = EVERY * number
        look = {"health/rank": rank, "health/deviation": deviation, "health/uniformity": uniformity}
        lines.append({"step": step, **look})
        for at in range(step, step + EVERY, 10):
            values = {f"train/{name}": value(at) for name, value in train.items()}
            lines.append({"step": at + 10, **values})
    return lines


def falling(step: int) -> float:
    return 1.0 / (1 + step)


def drawn_out(course: list[tuple[float, ...]], column: int) -> Any:
    """A measured course as if it had taken five times as long: none of it is early then."""
    return lambda step: course[min(step // EVERY, len(course) - 1)][column]


@pytest.mark.parametrize("name", HEALTHY)
def test_no_alarm_on_healthy_courses(name: str) -> None:
    looks = HEALTHY[name]
    assert judge(course(looks, loss=falling), 0, EVERY * len(looks)) is None


def test_complete_collapse_takes_two_looks_in_a_row() -> None:
    lines = course(COLLAPSED, loss=falling)
    raised = judge(lines, 0, 500)
    assert raised is not None
    assert (raised.alarm.name, raised.step) == ("complete collapse", 150)
    assert "0.015" in raised.found
    assert "0.28" in raised.found
    sound = HEALTHY["mae"][3]
    once = [COLLAPSED[0], COLLAPSED[2], sound, COLLAPSED[2], sound, COLLAPSED[2]]
    assert judge(course(once, loss=falling), 0, 500) is None


def test_looks_before_the_end_of_the_warm_up_are_not_judged() -> None:
    raised = judge(course(COLLAPSED, loss=falling), 120, 500)
    assert raised is not None
    assert raised.step == 200
    assert judge(course(COLLAPSED, loss=falling), 160, 500) is None


def test_embeddings_on_one_axis_are_a_dimensional_collapse() -> None:
    # Two opposite clusters: far apart, and yet a single direction.
    looks = [(6.0, 0.3, -0.3), (1.2, 0.9, -0.7), (1.1, 0.98, -0.7), (1.05, 0.99, -0.7)]
    raised = judge(course(looks, loss=falling), 0, 500)
    assert raised is not None
    assert (raised.alarm.name, raised.step) == ("dimensional collapse", 150)


@pytest.mark.parametrize(
    ("measured", "chance", "name"),
    [
        (COLLAPSED_SIMCLR, 2.708, "loss at chance"),  # which it is a look earlier
        (COLLAPSED_MOCO, 6.99, "projections coincide"),
    ],
)
def test_measured_collapses(measured: list[tuple[float, ...]], chance: float, name: str) -> None:
    looks = (2 * HEALTHY["mae"])[: len(measured)]
    figures = {"loss": drawn_out(measured, 0), "uniformity": drawn_out(measured, 1)}
    lines = course(looks, **figures, chance=lambda step: chance)
    raised = judge(lines, 0, EVERY * len(looks))
    assert raised is not None
    assert raised.alarm.name == name


@pytest.mark.parametrize(("measured", "chance"), [(RECOVERED_MOCO, 6.99), (SLOW_SIMCLR, 4.143)])
def test_a_contrast_that_comes_late_is_waited_for(
    measured: list[tuple[float, ...]], chance: float
) -> None:
    looks = (2 * HEALTHY["moco"])[:6] * 3
    figures = {"loss": drawn_out(measured, 0), "uniformity": drawn_out(measured, 1)}
    lines = course(looks[: len(measured)], **figures, chance=lambda step: chance)
    assert judge(lines, 0, EVERY * len(measured)) is None


def test_a_term_of_several_may_be_at_chance() -> None:
    """This run's other terms were learned first, and its contrast afterwards."""
    looks = (2 * HEALTHY["mae"])[: len(RECOVERED_HYBRID)]
    names = ("loss", "uniformity", "contrast")
    figures = {name: drawn_out(RECOVERED_HYBRID, column) for column, name in enumerate(names)}
    lines = course(looks, **figures, chance=lambda step: 3.434)
    assert judge(lines, 0, EVERY * len(looks)) is None


def test_a_contrastive_loss_at_chance() -> None:
    looks = HEALTHY["simclr"]
    flat = course(looks, loss=lambda step: 2.69, chance=lambda step: 2.7)
    raised = judge(flat, 0, 400)
    assert raised is not None
    assert (raised.alarm.name, raised.step) == ("loss at chance", 150)
    below = course(looks, loss=lambda step: 2.66, chance=lambda step: 2.7)
    assert judge(below, 0, 400) is None
    # All are of one patient, which the method itself refuses or leaves out.
    alone = course(looks, loss=lambda step: 0.0, chance=lambda step: 0.0)
    assert judge(alone, 0, 400) is None


def test_a_loss_that_does_not_fall() -> None:
    looks = HEALTHY["mae"]
    raised = judge(course(looks, loss=lambda step: 1.0 + 0.01 * (step % 30)), 0, 450)
    assert raised is not None
    assert raised.alarm.name == "loss not falling"
    rising = course(looks, loss=lambda step: 1.0 if step else 0.98)
    assert judge(rising, 0, 450) is not None
    # One that has once been lower has learned something, even where it rises later.
    later = course(looks, loss=lambda step: {0: 2.0, 10: 1.9}.get(step, 1.0 + step))
    assert judge(later, 0, 450) is None
    negative = course(looks, loss=lambda step: -0.1 - 0.01 * step)
    assert judge(negative, 0, 450) is None
    # A queue that fills raises the loss of a task that contrasts.
    tasks = course(
        looks, loss=lambda step: 5 + 0.01 * step, **{"moco/chance": lambda step: 5 + 0.01 * step}
    )
    assert judge(tasks, 0, 450) is None


def test_a_line_written_after_a_look_of_its_step_changes_no_judgement() -> None:
    """At a look the log lacks the line of its step, which a resumed or a later reader sees."""
    looks = HEALTHY["simclr"]
    lines = course(looks, loss=lambda step: 2.7 if step < 190 else 0.1, chance=lambda step: 2.7)
    at = next(n for n, line in enumerate(lines) if line["step"] == 200 and "health/rank" in line)
    live = [line for line in lines[: at + 1] if line["step"] < 200 or "health/rank" in line]
    whole = judge([line for line in lines if line["step"] <= 200], 0, 400)
    assert whole is not None
    assert judge(live, 0, 400) == whole


def test_no_look_of_the_first_hundred_steps_is_judged() -> None:
    lines = course([COLLAPSED[0], COLLAPSED[4], COLLAPSED[4], COLLAPSED[4]], loss=falling)
    assert judge([line for line in lines if line["step"] <= SOONEST], 0, SOONEST) is None
    assert judge(lines, 0, 150) is not None


def test_every_alarm_has_a_name_of_its_own_and_says_what_to_do() -> None:
    assert len({alarm.name for alarm in ALARMS}) == len(ALARMS)
    for alarm in ALARMS:
        assert alarm.why.endswith(".") or alarm.why.endswith(")."), alarm.name
        assert not alarm.remedy.endswith("."), alarm.name
