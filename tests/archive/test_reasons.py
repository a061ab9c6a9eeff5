from __future__ import annotations

import pickle

from medssl.archive.reason_codes import PAGE, page
from medssl.archive.reasons import Reason


def test_a_code_is_its_name_and_says_what_to_do() -> None:
    for reason in Reason:
        assert reason.value == reason.name == str(reason)
        assert reason.text.endswith(".")
        assert len(reason.text) > 20
        assert pickle.loads(pickle.dumps(reason)) is reason


def test_every_code_is_on_the_page() -> None:
    text = page()
    assert all(f"| `{reason.value}` | {reason.text} |" in text for reason in Reason)


def test_the_reference_page_is_in_step() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m medssl.archive.reason_codes"
