"""Which samples are named when a step is spoilt, and when the second one counts."""

from __future__ import annotations

import pytest
import torch

from medssl.augment.batch import Batch, SampleSource
from medssl.engine.guard import FORGIVEN_AFTER, Guard, most_suspect, suspects
from medssl.errors import TrainingError


class Named(SampleSource):
    global_batch = 4

    def blank(self, count: int) -> Batch:
        return {"image": torch.zeros(count, 1, 1, 2, 2, 2)}

    def fill(self, batch: Batch, row: int, step: int, index: int) -> None: ...

    def finish(self, batch: Batch, step: int) -> None: ...

    def volume_uids(self, batch: Batch) -> list[str]:
        return ["a", "b", "c", "d"]


def test_a_sample_that_is_not_finite_is_named_alone() -> None:
    batch = Named().blank(4)
    batch["image"][2, 0, 0, 1, 1, 0] = torch.nan
    assert suspects(Named(), batch, torch.tensor([1.0, torch.nan])) == (0, ["c"])


def test_else_the_part_whose_loss_is_not_finite() -> None:
    batch = Named().blank(4)
    assert suspects(Named(), batch, torch.tensor([torch.inf, 1.0])) == (1, ["a", "b"])
    assert suspects(Named(), batch, torch.tensor([1.0, 1.0])) == (2, ["a", "b", "c", "d"])


def test_the_surest_process_is_believed() -> None:
    found = [(2, ["a", "b"]), (1, ["c"]), (2, ["d"]), (1, ["e"])]
    assert most_suspect(found) == ["c", "e"]


def test_a_second_one_soon_ends_the_run_even_after_a_resume() -> None:
    guard = Guard()
    assert (
        guard.skip(5, "loss", ["a", "b"]) == "step 5 skipped: its loss is not finite; batch of a, b"
    )
    resumed = Guard()
    resumed.load_state_dict(guard.state_dict())
    with pytest.raises(TrainingError, match=r"gradient is not finite at step 104.* of c;.*step 5 "):
        resumed.skip(4 + FORGIVEN_AFTER, "gradient", ["c"])
    assert resumed.skipped == 2


def test_a_late_one_is_forgiven() -> None:
    guard = Guard()
    guard.skip(5, "loss", ["a"])
    guard.skip(5 + FORGIVEN_AFTER, "loss", ["a"])
    assert guard.skipped == 2


def test_a_large_batch_is_named_in_part() -> None:
    guard = Guard()
    guard.skip(0, "loss", ["a"])
    with pytest.raises(TrainingError, match=r"u0, .*u7 and 12 more \(see run.log\)"):
        guard.skip(1, "loss", [f"u{i}" for i in range(20)])
