from __future__ import annotations

import pytest
import torch
from torch import nn

from medssl.methods.momentum import cosine_momentum, follow, teacher_of


def test_a_teacher_is_the_running_average_of_its_student():
    student = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    teacher = teacher_of(student)
    assert not any(p.requires_grad for p in teacher.parameters())
    expected = [p.detach().clone() for p in student.parameters()]
    for _ in range(3):
        with torch.no_grad():
            for p in student.parameters():
                p.add_(torch.randn_like(p))
        student[1].running_mean.add_(1.0)
        follow(teacher, student, 0.9)
        expected = [0.9 * e + 0.1 * p for e, p in zip(expected, student.parameters(), strict=True)]
    for theirs, e in zip(teacher.parameters(), expected, strict=True):
        assert torch.allclose(theirs, e, atol=1e-6)
    assert torch.equal(teacher[1].running_mean, student[1].running_mean)


def test_momentum_rises_to_one():
    rates = [cosine_momentum(0.99, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.99)
    assert rates[-1] == pytest.approx(1.0)
    assert rates[50] == pytest.approx(0.995)
    assert rates == sorted(rates)
