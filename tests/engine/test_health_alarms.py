"""Alarms on courses that are known: measured healthy ones, and collapsed ones."""

from __future__ import annotations

from typing import Any

import pytest

from medssl.engine.health_alarms import ALARMS, Line, judge

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


def course(looks: list[tuple[float, float, float]], **train: Any) -> list[Line]:
    """Lines of metrics.jsonl; each figure of `train` is a function of the step."""
    lines: list[Line] = []
    for number, (rank, deviation, uniformity) in enumerate(looks):
        step = 10 * number
        look = {"health/rank": rank, "health/deviation": deviation, "health/uniformity": uniformity}
        lines.append({"step": step, **look})
        for at in range(step, step + 10, 2):
            values = {f"train/{name}": value(at) for name, value in train.items()}
            lines.append({"step": at + 2, **values} if values else {"step": at + 2})
    return lines


def falling(step: int) -> float:
    return 1.0 / (1 + step)


@pytest.mark.parametrize("name", HEALTHY)
def test_no_alarm_on_healthy_courses(name: str) -> None:
    looks = HEALTHY[name]
    assert judge(course(looks, loss=falling), 0, 10 * len(looks)) is None


def test_complete_collapse_takes_two_looks_in_a_row() -> None:
    lines = course(COLLAPSED, loss=falling)
    raised = judge(lines, 0, 100)
    assert raised is not None
    assert (raised.alarm.name, raised.step) == ("complete collapse", 20)
    assert "0.019" in raised.found
    assert "0.28" in raised.found
    once = [COLLAPSED[0], COLLAPSED[1], HEALTHY["mae"][3], COLLAPSED[1], HEALTHY["mae"][4]]
    assert judge(course(once, loss=falling), 0, 100) is None


def test_looks_before_the_end_of_the_warm_up_are_not_judged() -> None:
    raised = judge(course(COLLAPSED, loss=falling), 25, 100)
    assert raised is not None
    assert raised.step == 40
    assert judge(course(COLLAPSED, loss=falling), 35, 100) is None


def test_embeddings_on_one_axis_are_a_dimensional_collapse() -> None:
    # Two opposite clusters: far apart, and yet a single direction.
    looks = [(6.0, 0.3, -0.3), (1.2, 0.9, -0.7), (1.1, 0.98, -0.7), (1.05, 0.99, -0.7)]
    raised = judge(course(looks, loss=falling), 0, 100)
    assert raised is not None
    assert (raised.alarm.name, raised.step) == ("dimensional collapse", 20)


def test_projections_on_a_point() -> None:
    looks = HEALTHY["mae"]
    lines = course(looks, loss=falling, uniformity=lambda step: -0.5 if step < 20 else -0.001)
    raised = judge(lines, 0, 90)
    assert raised is not None
    assert raised.alarm.name == "projections coincide"
    assert judge(course(looks, loss=falling, uniformity=lambda step: -0.5), 0, 90) is None


def test_a_contrastive_loss_at_chance() -> None:
    looks = HEALTHY["simclr"]
    flat = course(looks, loss=lambda step: 2.68, chance=lambda step: 2.7)
    raised = judge(flat, 0, 80)
    assert raised is not None
    assert (raised.alarm.name, raised.step) == ("loss at chance", 30)
    below = course(looks, loss=lambda step: 2.6, chance=lambda step: 2.7)
    assert judge(below, 0, 80) is None
    # Of a sum of terms the contrastive one is compared.
    terms = course(
        looks, loss=falling, contrast=lambda step: 2.7, chance=lambda step: 2.7
    )  # fmt: skip
    assert judge(terms, 0, 80) is not None


def test_a_loss_that_does_not_fall() -> None:
    looks = HEALTHY["mae"]
    raised = judge(course(looks, loss=lambda step: 1.0 + 0.01 * (step % 3)), 0, 90)
    assert raised is not None
    assert raised.alarm.name == "loss not falling"
    rising = course(looks, loss=lambda step: 1.0 if step else 0.98)
    assert judge(rising, 0, 90) is not None
    # One that has once been lower has learned something, even where it rises later.
    later = course(looks, loss=lambda step: {0: 2.0, 2: 1.9}.get(step, 1.0 + step))
    assert judge(later, 0, 90) is None
    negative = course(looks, loss=lambda step: -0.1 - 0.01 * step)
    assert judge(negative, 0, 90) is None


def test_a_line_written_after_a_look_of_its_step_changes_no_judgement() -> None:
    """At a look the log lacks the line of its step, which a resumed or a later reader sees."""
    looks = HEALTHY["simclr"]
    lines = course(looks, loss=lambda step: 2.7 if step < 38 else 0.1, chance=lambda step: 2.7)
    at = next(n for n, line in enumerate(lines) if line["step"] == 40 and "health/rank" in line)
    live = [line for line in lines[: at + 1] if line["step"] < 40 or "health/rank" in line]
    assert judge(live, 0, 80) == judge([line for line in lines if line["step"] <= 40], 0, 80)


def test_a_run_of_ten_steps_is_not_judged() -> None:
    lines = [
        {"step": 0, "health/rank": 5.0, "health/deviation": 0.3, "health/uniformity": -0.3},
        *({"step": step, "train/loss": 1.0} for step in range(2, 11, 2)),
        {"step": 10, "health/rank": 1.0, "health/deviation": 0.0, "health/uniformity": 0.0},
    ]
    assert judge(lines, 2, 10) is None


def test_every_alarm_has_a_name_of_its_own_and_says_what_to_do() -> None:
    assert len({alarm.name for alarm in ALARMS}) == len(ALARMS)
    for alarm in ALARMS:
        assert alarm.why.endswith(".") or alarm.why.endswith(")."), alarm.name
        assert not alarm.remedy.endswith("."), alarm.name
