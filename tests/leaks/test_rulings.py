"""Rulings stand, are chained, and name who ruled."""

from __future__ import annotations

from pathlib import Path

import pytest

from medssl.errors import StudyError
from medssl.leaks.rulings import RULINGS, add_ruling, pair_id, read_rulings

A, B, C = "a" * 64, "b" * 64, "c" * 64


def test_the_last_ruling_on_a_pair_counts(tmp_path: Path) -> None:
    path = tmp_path / RULINGS
    assert read_rulings(path) == {}
    first = add_ruling(path, (A, B), "same", "R. Adiologist", "perceptual", 4.0)
    add_ruling(path, (C, B), "different", "R. Adiologist", "perceptual", 9.0)
    add_ruling(path, (B, A), "different", "second reader", "embedding", 0.01)
    again = add_ruling(path, (A, B), "same", "R. Adiologist", "perceptual", 4.0)
    rulings = read_rulings(path)
    assert set(rulings) == {pair_id(A, B), pair_id(B, C)}
    assert rulings[pair_id(A, B)] == again
    assert (first.seq, again.seq, again.ruling) == (1, 4, "same")
    assert rulings[pair_id(B, C)].by == "R. Adiologist"
    assert len(path.read_text().splitlines()) == 4


def test_a_changed_or_missing_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / RULINGS
    add_ruling(path, (A, B), "same", "reader", "perceptual", 4.0)
    add_ruling(path, (A, C), "same", "reader", "perceptual", 4.0)
    whole = path.read_text()
    path.write_text(whole.replace('"same"', '"different"', 1))
    with pytest.raises(StudyError, match="line 1 was changed"):
        read_rulings(path)
    with pytest.raises(StudyError, match="line 1 was changed"):
        add_ruling(path, (B, C), "same", "reader", "perceptual", 4.0)
    path.write_text(whole.splitlines(keepends=True)[1])
    with pytest.raises(StudyError, match="a line is missing"):
        read_rulings(path)


def test_a_ruling_names_somebody(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="--by NAME"):
        add_ruling(tmp_path / RULINGS, (A, B), "same", "  ", "perceptual", 4.0)
    assert not (tmp_path / RULINGS).exists()
