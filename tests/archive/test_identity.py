from __future__ import annotations

import hashlib
import hmac
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.archive.identity import Key, load_key, make_key_file
from medssl.errors import KeyFileError

_FIELDS = st.lists(st.text(max_size=5), min_size=1, max_size=4)


def test_a_new_key_is_private_random_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    key = make_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size >= 32
    assert load_key(path) == key
    assert make_key_file(tmp_path / "other").key_id != key.key_id
    with pytest.raises(KeyFileError, match="exists and is kept"):
        make_key_file(path)
    assert load_key(path) == key


def test_a_missing_short_or_open_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="medssl keygen"):
        load_key(tmp_path / "none")
    short = tmp_path / "short"
    short.write_bytes(b"x" * 31)
    short.chmod(0o600)
    with pytest.raises(KeyFileError, match="31 bytes"):
        load_key(short)
    short.write_bytes(b"x" * 32)
    assert load_key(short)
    short.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_key(short)


def test_the_hash_is_hmac_sha256_over_length_prefixed_fields() -> None:
    key = Key(b"k" * 32)
    message = (7).to_bytes(8, "big") + b"patient" + (2).to_bytes(8, "big") + "é".encode()
    expected = hmac.new(b"k" * 32, message, hashlib.sha256).hexdigest()[:32]
    assert key.hmac("patient", "é") == expected


@given(_FIELDS, _FIELDS)
def test_other_fields_give_another_key(a: list[str], b: list[str]) -> None:
    key = Key(b"k" * 32)
    assert (key.hmac(*a) == key.hmac(*b)) == (a == b)


def test_the_secret_is_not_shown() -> None:
    key = Key(b"secret-secret-secret-secret-secret")
    assert "secret-" not in repr(key)
    assert "secret-" not in key.key_id
