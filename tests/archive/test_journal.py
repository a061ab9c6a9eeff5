from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medssl.archive import journal as module
from medssl.archive.journal import FileRecord, Journal, UnitRows
from medssl.errors import StoreError
from medssl.store.store import open_store
from medssl.store.writer import create_store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    create_store(tmp_path / "store", "key", {})
    return tmp_path / "store"


def unit(name: str, *uids: str, rejected: str = "") -> UnitRows:
    rows = UnitRows(name, f"signature of {name}")
    for uid in uids:
        rows.rows["manifest"].append({"volume_uid": uid})
        rows.rows["labels"].append({"volume_uid": uid, "name": name, "kind": "class"})
    if rejected:
        rows.rows["rejected"].append({"source_key": rejected, "reason": "EMPTY_FILE"})
    return rows


def volumes(root: Path) -> list[str]:
    store = open_store(root)
    assert sorted(store.labels["volume_uid"]) == sorted(store.manifest["volume_uid"])
    return sorted(store.manifest["volume_uid"])


def reopen(journal: Journal) -> Journal:
    """As after a kill: nothing is tidied up before the journal is opened again."""
    journal._db.close()
    return Journal(journal.root)


def test_units_come_and_go_with_their_rows(root: Path) -> None:
    journal = Journal(root)
    journal.commit([unit("a", "v1", "v2"), unit("b", "v3", rejected="r1")])
    journal.commit([unit("c", "v4")])
    assert journal.signature("a") == "signature of a"
    assert volumes(root) == ["v1", "v2", "v3", "v4"]
    journal.drop(["a"])
    assert volumes(root) == ["v3", "v4"]
    assert journal.signature("a") is None
    journal.drop(["b"])
    assert volumes(root) == ["v4"]
    assert open_store(root).rejected.empty


def test_a_volume_from_a_moved_archive_is_there_once(root: Path) -> None:
    journal = Journal(root)
    journal.commit([unit("old place", "v1", "v2")])
    journal.commit([unit("new place", "v1")])
    assert volumes(root) == ["v1", "v2"]
    journal.drop(["old place"])
    assert volumes(root) == ["v1"]


def test_voxels_go_with_their_unit(root: Path) -> None:
    path = root / "volumes" / "ab" / "ab1.b2nd"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    journal = Journal(root)
    journal.commit([unit("a", "ab1")])
    journal.drop(["a"])
    assert not path.exists()


@pytest.mark.parametrize("at", range(4))
def test_killed_while_committing_nothing_is_lost_or_doubled(
    root: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    journal = Journal(root)
    journal.commit([unit("a", "v1")])
    orphan = root / "volumes" / "v2" / "v2.b2nd"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"x")
    written: list[Any] = []

    def dies(*args: Any) -> None:
        if len(written) == at:
            raise KeyboardInterrupt
        written.append(args)
        original(*args)

    original = module.write_part
    monkeypatch.setattr(module, "write_part", dies)
    batch = [unit("b", "v2", "v3", rejected="r1")]
    if at < 3:
        with pytest.raises(KeyboardInterrupt):
            journal.commit(batch)
    else:  # the parts are written, the journal is not
        monkeypatch.setattr(journal, "_transaction", lambda: (_ for _ in ()).throw(OSError()))
        with pytest.raises(OSError):  # noqa: PT011
            journal.commit(batch)
    monkeypatch.undo()
    journal = reopen(journal)
    assert journal.signature("b") is None
    assert volumes(root) == ["v1"]
    assert not orphan.exists()
    journal.commit(batch)
    assert volumes(root) == ["v1", "v2", "v3"]


def test_killed_while_dropping_the_unit_is_done_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(root)
    journal.commit([unit("a", "v1"), unit("b", "v2")])

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(journal, "_rewrite", dies)
    with pytest.raises(KeyboardInterrupt):
        journal.drop(["a"])
    journal = reopen(journal)
    assert journal.signature("a") is None
    assert volumes(root) == ["v2"]


def test_only_one_process_writes_a_store(root: Path) -> None:
    first = Journal(root)
    with pytest.raises(StoreError, match="another process"):
        Journal(root)
    first.close()
    Journal(root).close()


def test_files_are_remembered(root: Path) -> None:
    journal = Journal(root)
    record = FileRecord("k", "stamp", "nifti", "", "unit", "tags")
    journal.remember_files([record])
    journal = reopen(journal)
    assert journal.file("k") == record
    assert journal.file("other") is None


def test_a_damaged_journal_is_told(root: Path) -> None:
    (root / "ingest.sqlite").write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(StoreError, match="damaged"):
        Journal(root)


def many_parts(root: Path) -> Journal:
    journal = Journal(root)
    for n in range(40):
        journal.commit([unit(f"u{n}", f"v{n:02}", rejected=f"r{n}")])
    return journal


def test_many_small_parts_become_one(root: Path) -> None:
    journal = many_parts(root)
    before = volumes(root)
    assert journal.compact() == 39
    assert journal.compact() == 0
    assert volumes(root) == before
    assert len(open_store(root).rejected) == 40
    assert {len(list((root / kind).glob("*.parquet"))) for kind in ("manifest", "labels")} == {1}
    journal.commit([unit("late", "v99")])
    journal.drop(["u3"])
    assert volumes(root) == sorted({*before, "v99"} - {"v03"})


@pytest.mark.parametrize("at", range(5))
def test_killed_while_merging_nothing_is_lost_or_doubled(
    root: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    journal = many_parts(root)
    before = volumes(root)
    steps = 0

    def dies(original: Any, *args: Any, **settings: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > at:
            raise KeyboardInterrupt
        return original(*args, **settings)

    write, unlink = module.write_tables, Path.unlink
    monkeypatch.setattr(module, "write_tables", lambda *a, **s: dies(write, *a, **s))
    if at == 4:  # all are written and named; the old ones are still there
        monkeypatch.setattr(Path, "unlink", lambda *a, **s: dies(unlink, *a, **s))
    if at == 3:
        monkeypatch.setattr(journal, "_transaction", lambda: dies(lambda: None))
    with pytest.raises(KeyboardInterrupt):
        journal.compact()
    monkeypatch.undo()
    assert volumes(root) == before, "to a reader, before anything is tidied up"
    journal = reopen(journal)
    assert volumes(root) == before
    assert len(open_store(root).rejected) == 40
    journal.compact()
    assert volumes(root) == before


def test_units_of_a_patient_are_found_also_where_reading_broke_down(root: Path) -> None:
    journal = Journal(root)
    rows = [unit("a", "v1"), unit("b", "v2"), unit("broken"), unit("other site", "v4")]
    rows[0].patients, rows[1].patients, rows[3].patients = {"p1"}, {"p2"}, {"p9"}
    journal.commit(rows)
    tags = {"a": "s1 t1", "b": "s2 t2", "broken": "s3 t1", "other site": "s4 t1"}
    journal.remember_files([FileRecord(u, "", "dicom", "", u, t) for u, t in tags.items()])
    journal.remember_files([FileRecord("damaged", "", "refused", "", "damaged", "s1 i1")])
    assert journal.units_of_patient("p1", [], []) == {"a", "broken", "damaged"}
    assert journal.units_of_patient("p7", ["v2"], []) == {"b"}
    assert journal.units_of_patient("p7", [], ["t2"]) == set()
    journal.withdraw("p1", ["i1"], ["a", "broken"])
    assert volumes(root) == ["v2", "v4"]
    assert journal.file("a") is None
    assert journal.withdrawn() == {"p1", "i1"}
    assert journal.is_withdrawn("p1")
    assert not journal.is_withdrawn("i1")


def test_killed_while_withdrawing_the_patient_is_gone_at_the_next_opening(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(root)
    rows = unit("a", "v1")
    rows.patients = {"p1"}
    journal.commit([rows, unit("b", "v2")])
    monkeypatch.setattr(journal, "drop", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        journal.withdraw("p1", [], ["a"])
    assert volumes(root) == ["v1", "v2"]
    journal = reopen(journal)
    assert volumes(root) == ["v2"]
    assert journal.is_withdrawn("p1")
