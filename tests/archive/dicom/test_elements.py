"""Elements of a value representation that does not exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medssl.archive.dicom import Unreadable, read_header


@pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.66.4"])
@pytest.mark.parametrize("vr", [b"D@", b"\0\0", b"ZZ"])
def test_a_damaged_element_is_read_as_absent_or_refused(
    make_series: Callable[..., Any], vr: bytes, kind: str
) -> None:
    series = make_series(num=1).set(StudyDate="", SOPClassUID=kind)
    (path,) = series.write()
    data = path.read_bytes()
    whole = b"\x08\0\x20\0DA"
    assert whole in data
    path.write_bytes(data.replace(whole, b"\x08\0\x20\0" + vr))
    try:
        header = read_header(path)
    except Unreadable:
        return
    assert header.sop_class == kind
