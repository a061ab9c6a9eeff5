"""Guarded processes. `eval` is the function: a child can import it, whatever it is to do."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from medssl.archive.pool import Failure, Pool
from medssl.archive.reasons import Reason


def answers(items: list[str], batch: int = 3, **limits: Any) -> dict[str, Any]:
    settings = {"workers": 2, "max_memory_bytes": 1 << 29, "time_limit_s": 30.0, **limits}
    batches = (items[at : at + batch] for at in range(0, len(items), batch))
    with Pool(eval, **settings) as pool:
        return dict(pool.map(batches))


def test_one_that_crashes_costs_itself_alone() -> None:
    items = [f"{n} + 1" for n in range(10)]
    items[4:4] = ["__import__('os').abort()", "__import__('os')._exit(0)"]
    found = answers(items)
    assert len(found) == 12
    assert [found[f"{n} + 1"] for n in range(10)] == list(range(1, 11))
    assert found["__import__('os').abort()"] == Failure(Reason.WORKER_DIED)
    assert found["__import__('os')._exit(0)"] == Failure(Reason.WORKER_DIED)


def test_one_that_hangs_is_ended() -> None:
    found = answers(["1", "__import__('time').sleep(60)", "3"], time_limit_s=1.0)
    assert found["__import__('time').sleep(60)"] == Failure(Reason.WORKER_TIMED_OUT)
    assert (found["1"], found["3"]) == (1, 3)


def test_one_that_takes_too_much_memory_is_stopped() -> None:
    found = answers(["len(bytearray(3 << 30))", "len(bytearray(1 << 20))"])
    assert found["len(bytearray(3 << 30))"] == Failure(Reason.WORKER_OUT_OF_MEMORY)
    assert found["len(bytearray(1 << 20))"] == 1 << 20


def test_the_text_of_an_error_stays_in_its_process() -> None:
    found = answers(["open('/SECRET/name')", "int('SECRET')", "print('SECRET') or 5"])
    assert found["open('/SECRET/name')"] == Failure(Reason.UNREADABLE_FILE, "ENOENT")
    assert found["int('SECRET')"] == Failure(Reason.INTERNAL_ERROR, "ValueError")
    assert found["print('SECRET') or 5"] == 5


def test_a_full_disk_and_a_missing_codec_end_the_run() -> None:
    with pytest.raises(OSError, match="No space") as caught:
        answers(["(_ for _ in ()).throw(OSError(28, 'SECRET'))"])
    assert caught.value.errno == errno.ENOSPC
    assert "SECRET" not in str(caught.value)
    with pytest.raises(Exception, match="install it"):
        answers(
            ["(_ for _ in ()).throw(__import__('medssl.errors').errors.CodecError('install it'))"]
        )


def test_nothing_to_do_starts_no_process() -> None:
    assert answers([]) == {}
