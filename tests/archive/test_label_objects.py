"""Names to classes, and several label files on one volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from medssl.archive import label_objects
from medssl.archive.dicom.label_reference import LabelReference
from medssl.archive.dicom.structures import Grid, LabelFault
from medssl.archive.label_objects import Labelled, Target, class_rank, label_volumes
from medssl.archive.reasons import Reason

SHAPE = (4, 5, 6)


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("GTV", 0),
        (" gtv_Node ", 1),
        ("Leber", None),
        ("[LN] left", 2),
        ("liver", 3),
        ("", None),
    ],
)
def test_the_last_pattern_that_fits_decides_whatever_the_case(name: str, rank: int | None) -> None:
    assert class_rank(name, {"gtv*": 1, "GTV_NODE*": 2, "[[]ln] *": 3, "liver": 1}) == rank


@dataclass(frozen=True)
class Drawing:
    """A structure that is drawn beforehand."""

    name: str
    box: tuple[slice, ...]
    frame_of_reference: str = "1.2"
    instances: frozenset[str] = frozenset()
    fault: Reason | type[Exception] | None = None

    def draw(self, grid: Grid) -> tuple[np.ndarray, tuple[Reason, ...]]:
        if isinstance(self.fault, Reason):
            raise LabelFault(self.fault)
        if self.fault is not None:
            raise self.fault("Mustermann")
        out = np.zeros(grid.shape, dtype=bool)
        out[self.box] = True
        return out, ()


@dataclass(frozen=True)
class File:
    """As much of a header as a label needs."""

    drawings: tuple[Drawing, ...]
    label: LabelReference = field(default_factory=lambda: LabelReference(("1.2.3",)))
    path: Path = Path("x")


@pytest.fixture
def labelled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Labelled]:
    monkeypatch.setattr(label_objects, "_read", lambda label: label.drawings)

    def run(*files: File, frame: str = "1.2", **structures: int) -> Labelled:
        target = Target(Grid(np.eye(4), SHAPE), frame, frozenset({"a", "b"}))
        labels = cast(Any, files)
        return label_volumes(labels, [target], frozenset({"a", "b"}), structures)

    return run


LEFT = (slice(0, 2), slice(0, 3), slice(0, 4))
RIGHT = (slice(1, 3), slice(2, 5), slice(2, 6))


def painted(**values: tuple[slice, ...]) -> np.ndarray:
    out = np.zeros(SHAPE, dtype=np.uint8)
    for name, box in values.items():
        out[box] = int(name[1:])
    return out


def test_the_later_class_has_the_voxels_where_two_meet(labelled: Any) -> None:
    one = File((Drawing("b", RIGHT), Drawing("a", LEFT)))
    found = labelled(one, a=1, b=2).maps[0]
    assert found.corrections == (Reason.LABEL_OVERLAP,)
    np.testing.assert_array_equal(found.mask.classes, painted(_1=LEFT, _2=RIGHT))
    found = labelled(one, b=2, a=1).maps[0]
    np.testing.assert_array_equal(found.mask.classes, painted(_2=RIGHT, _1=LEFT))


def test_structures_of_one_class_may_share_voxels(labelled: Any) -> None:
    found = labelled(File((Drawing("a1", LEFT), Drawing("a2", RIGHT))), **{"a*": 1}).maps[0]
    assert found.corrections == ()
    np.testing.assert_array_equal(found.mask.classes, painted(_1=LEFT) | painted(_1=RIGHT))


@pytest.mark.parametrize(
    ("fault", "reason", "detail"),
    [
        (Reason.LABEL_OFF_SLICE, Reason.LABEL_OFF_SLICE, ""),
        (ValueError, Reason.INTERNAL_ERROR, "ValueError"),
        (MemoryError, Reason.WORKER_OUT_OF_MEMORY, ""),
        (PermissionError, Reason.UNREADABLE_FILE, ""),
    ],
)
def test_a_file_is_taken_whole_or_not_at_all_and_others_stand(
    labelled: Any, fault: Any, reason: Reason, detail: str
) -> None:
    good = File((Drawing("a", LEFT),))
    bad = File((Drawing("a", LEFT), Drawing("b", RIGHT, fault=fault)))
    found = labelled(good, bad, a=1, b=2)
    assert [(r.label, r.reason, r.detail) for r in found.refused] == [(bad, reason, detail)]
    np.testing.assert_array_equal(found.maps[0].mask.classes, painted(_1=LEFT))
    unmapped_fault = File((Drawing("a", LEFT), Drawing("z", RIGHT, fault=fault)))
    assert not labelled(unmapped_fault, a=1).refused


def test_a_frame_that_is_not_stated_needs_instances(labelled: Any) -> None:
    assert labelled(File((Drawing("a", LEFT),)), frame="", a=1).refused
    named = File((Drawing("a", LEFT, instances=frozenset({"b"})),))
    assert not labelled(named, frame="", a=1).refused
    assert labelled(named, frame="9.9", a=1).refused[0].reason is Reason.LABEL_FRAME_DIFFERS
    elsewhere = File((Drawing("a", LEFT, instances=frozenset({"other"})),))
    assert not labelled(elsewhere, a=1).refused  # renamed instances: the series and frame decide


def test_an_empty_structure_is_a_mask_without_a_voxel(labelled: Any) -> None:
    found = labelled(File((Drawing("a", (slice(0, 0),) * 3),)), a=1).maps[0]
    assert found.mask.values() == "0"
