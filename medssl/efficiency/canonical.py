"""Canonical JSON and SHA-256: one value has one text, and so one hash, on every machine.

The text follows RFC 8785 (JSON Canonicalization Scheme): no white space, keys in the order of
their UTF-16 code units, strings with the fewest escapes, and numbers as ECMAScript prints a double
(RFC 8785, section 3.2.2.3).
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}
_CHUNK = 1 << 20


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 text of `value` in UTF-8.

    Args:
        value: dicts with string keys, lists, tuples, strings, bools, None, ints and floats.

    Raises:
        ValueError: a number is NaN, infinite, or an int that no double equals; a string holds a
            lone surrogate.
        TypeError: any other type.
    """
    return _text(value).encode("utf-8")


def sha256_bytes(data: bytes) -> str:
    """SHA-256 as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of the canonical text of `value`."""
    return sha256_bytes(canonical_json(value))


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_string(k)}:{_text(value[k])}" for k in _sorted_keys(value)) + "}"
    raise TypeError(f"JSON has no {type(value).__name__}")


def _sorted_keys(mapping: dict[Any, Any]) -> list[str]:
    for key in mapping:
        if not isinstance(key, str):
            raise TypeError(f"a key of a JSON object is a string, not {key!r}")
    return sorted(mapping, key=lambda key: key.encode("utf-16-be", "surrogatepass"))


def _string(text: str) -> str:
    parts = ['"']
    for char in text:
        if char in _ESCAPES:
            parts.append(_ESCAPES[char])
        elif char < " ":
            parts.append(f"\\u{ord(char):04x}")
        elif "\ud800" <= char <= "\udfff":
            raise ValueError("a string with a lone surrogate has no JSON text")
        else:
            parts.append(char)
    parts.append('"')
    return "".join(parts)


def _number(value: int | float) -> str:
    try:
        double = float(value)
    except OverflowError:
        raise ValueError("an integer beyond the range of a double has no canonical text") from None
    if not math.isfinite(double):
        raise ValueError(f"JSON has no {double}")
    text = _double(double)
    # An integer that was read from canonical text prints as itself, if not exactly its double.
    if isinstance(value, int) and int(double) != value and str(value) != text:
        raise ValueError(f"no double equals the integer {value}; write it as a string")
    return text


def _double(double: float) -> str:
    """ECMA-262, Number::toString: the shortest digits that read back as the same double."""
    if double == 0:
        return "0"
    sign = "-" if double < 0 else ""
    # repr gives the shortest digits that round-trip, as ECMAScript asks; only the layout differs.
    mantissa, _, exponent = repr(abs(double)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # `point`: the value is 0.DIGITS * 10**point.
    point = len(whole.lstrip("0")) + int(exponent or 0)
    if not whole.strip("0"):
        point -= len(fraction) - len(fraction.lstrip("0"))
    return sign + _layout(digits.rstrip("0"), point)


def _layout(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{mantissa}e{point - 1:+d}"
