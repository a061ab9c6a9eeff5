from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from medssl.archive.cases import Case, Cases
from medssl.archive.catalogue import Catalogue, Entry
from medssl.archive.config import IngestConfig
from medssl.archive.find import FileKind, Found
from medssl.archive.identity import Key
from medssl.archive.plan import Planner
from medssl.archive.reasons import Reason

CONFIG = IngestConfig(archive=Path("/archive"), store=Path("/store"))


@dataclass
class FakeJournal:
    """Knows units by their signatures."""

    units: dict[str, str] = field(default_factory=dict)

    def signature(self, unit_key: str) -> str | None:
        return self.units.get(unit_key)


@dataclass
class Run:
    """A plan over files that are there by name only; those called *_map are label maps."""

    files: Iterable[str]
    tags: dict[str, str] = field(default_factory=dict)
    cases: Cases = field(default_factory=Cases)
    journal: FakeJournal = field(default_factory=FakeJournal)
    judged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        with closing(Catalogue()) as catalogue:
            for name in self.files:
                catalogue.add(self._entry(name))
            catalogue.index()
            planner = Planner(
                CONFIG,
                Key(b"k" * 32),
                self.cases,
                self.journal,  # type: ignore[arg-type]
                None,
                self._judge,
            )
            with closing(planner.build(catalogue)) as plan:
                self.units = {u.files[0].relative: u for u in plan.nifti_units}
                self.settled = [r.store.rows["rejected"][0]["reason"] for r in plan.settled]
                self.outdated = plan.outdated
                self.unchanged = plan.unchanged
            self.remembered = {r.file_key: r.tags for r in planner.records(catalogue)}

    def _entry(self, name: str) -> Entry:
        kind = FileKind.PAIR_DATA if name.endswith(".img") else FileKind.NIFTI
        found = Found("/archive", name, 10, "stamp")
        return Entry(name, found, kind, unit_key=f"unit {name}", tags=self.tags.get(name, ""),
                     fresh=not self.tags)  # fmt: skip

    def _judge(self, files: Iterator[Found]) -> Iterator[tuple[Found, bool]]:
        for found in files:
            self.judged.append(found.relative)
            yield found, "_map" in found.relative


def label_of(run: Run, image: str) -> str | None:
    label = run.units[image].label
    return label.relative if label else None


def test_images_are_planned_with_their_labels_in_the_order_of_names() -> None:
    run = Run(["images/b.nii", "labels/a.nii", "images/a.nii", "labels/z.nii"])
    assert list(run.units) == ["images/a.nii", "images/b.nii"]
    assert label_of(run, "images/a.nii") == "labels/a.nii"
    assert run.units["images/b.nii"].notes == (Reason.IMAGE_WITHOUT_LABEL,)
    assert run.settled == ["LABEL_WITHOUT_IMAGE"]


def test_a_header_is_planned_with_its_voxels() -> None:
    run = Run(["x.hdr", "x.img", "x.1.img", "y.nii"])
    assert [f.relative for f in run.units["x.hdr"].files] == ["x.hdr", "x.img"]
    assert [f.relative for f in run.units["y.nii"].files] == ["y.nii"]


def test_voxels_tell_label_maps_once_and_the_journal_remembers() -> None:
    names = ["x.nii", "x_map.nii", "y.nii", "y_brain.nii"]
    first = Run(names)
    assert first.judged == ["x_map.nii", "y_brain.nii"]
    assert list(first.units) == ["x.nii", "y.nii", "y_brain.nii"]
    assert label_of(first, "x.nii") == "x_map.nii"
    told = {"x.nii": "", "x_map.nii": "label map", "y.nii": "", "y_brain.nii": "image"}
    assert first.remembered == told
    second = Run(names, tags=told)
    assert second.judged == []
    assert second.remembered == {}
    assert {n: u.signature for n, u in second.units.items()} == {
        n: u.signature for n, u in first.units.items()
    }


def test_what_is_judged_late_is_remembered_too() -> None:
    run = Run(["x.nii", "x_map.nii", "x_old.nii"], tags={"x_old.nii": "image"})
    assert run.judged == ["x_map.nii"]
    assert run.remembered == {"x_map.nii": "label map"}


def test_a_file_that_a_row_names_is_an_image_whatever_its_voxels() -> None:
    cases = Cases(rows=[Case(site="a", age=40)], numbers=[2], by_name={"x_map": [0]})
    run = Run(["x.nii", "x_map.nii"], cases=cases)
    assert run.judged == []
    assert run.units["x_map.nii"].case == Case(site="a", age=40)


def test_units_that_are_as_before_are_not_read_and_an_image_now_a_label_leaves() -> None:
    files = ["x.nii", "x_seg.nii", "y.nii"]
    first = Run(files)
    known = {unit.unit_key: unit.signature for unit in first.units.values()}
    second = Run(files, journal=FakeJournal({**known, "unit x_seg.nii": "once alone"}))
    assert not second.units
    assert second.unchanged == 2
    assert second.outdated == ["unit x_seg.nii"]
