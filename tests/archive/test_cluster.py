"""A Dask cluster of two processes: the same store as here, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medssl.archive.cluster import ClusterPool
from medssl.archive.config import IngestConfig
from medssl.archive.ingest import ingest
from medssl.archive.pool import Failure
from medssl.archive.reasons import Reason
from medssl.errors import ConfigError
from medssl.store.store import Store, open_store

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    few = dask.config.set({"distributed.scheduler.allowed-failures": 1})
    with few, distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as running:
        yield running


@pytest.fixture
def pool(cluster: Any) -> Callable[..., ClusterPool[str, Any]]:
    def make(shared: Any = (), **limits: Any) -> ClusterPool[str, Any]:
        settings = {"max_memory_bytes": 1 << 29, "time_limit_s": 30.0, **limits}
        return ClusterPool(eval, cluster.scheduler_address, shared, **settings)

    return make


def pids(cluster: Any) -> list[int]:
    """Of the Dask workers."""
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        return list(client.run(os.getpid).values())


def test_what_crashes_hangs_or_swells_costs_itself_alone(pool: Any, cluster: Any) -> None:
    before = sorted(pids(cluster))
    bad = {
        "__import__('os').abort()": Failure(Reason.WORKER_DIED),
        "__import__('time').sleep(60)": Failure(Reason.WORKER_TIMED_OUT),
        "len(bytearray(3 << 30))": Failure(Reason.WORKER_OUT_OF_MEMORY),
        "int('SECRET')": Failure(Reason.INTERNAL_ERROR, "ValueError"),
    }
    items = [*map(str, range(6)), *bad]
    with pool(time_limit_s=2.0) as running:
        found = dict(running.map(items[at::3] for at in range(3)))
    assert found == {**{str(n): n for n in range(6)}, **bad}
    assert sorted(pids(cluster)) == before


def test_a_batch_that_kills_its_dask_worker_is_tried_item_by_item(pool: Any) -> None:
    kills = "__import__('os').kill(__import__('psutil').Process().parents()[1].pid, 9)"
    with pool() as running:
        found = dict(running.map(iter([["1", kills, "2"]])))
    assert found == {"1": 1, "2": 2, kills: Failure(Reason.WORKER_DIED)}


def test_a_full_disk_ends_the_run_without_a_name(pool: Any) -> None:
    item = "(_ for _ in ()).throw(OSError(28, 'SECRET'))"
    with pool() as running, pytest.raises(OSError, match="No space") as caught:
        list(running.map(iter([[item]])))
    assert "SECRET" not in str(caught.value)


def test_folders_that_are_not_shared_are_told_first(
    pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here").mkdir()
    with pool([tmp_path]):
        pass
    monkeypatch.chdir(tmp_path)  # the workers stand elsewhere
    with pytest.raises(ConfigError, match="Dask workers do not see only_here"):
        pool([Path("only_here")]).__enter__()


def test_a_scheduler_that_is_not_there_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("medssl.archive.cluster._CONNECT_S", 1)
    with pytest.raises(ConfigError, match="no Dask scheduler answers at tcp"):
        ClusterPool(eval, "tcp://127.0.0.1:9", [], 1, 1.0).__enter__()
    with pytest.raises(ValueError, match="no effect"):
        IngestConfig(archive=tmp_path, store=tmp_path, workers=2, scheduler="tcp://h:1")


def test_an_ingest_is_that_of_one_machine_though_a_worker_is_killed(
    cluster: Any, tmp_path: Path, key_file: Path, write_nifti: Any, scan_values: Any
) -> None:
    for n in range(12):
        values = scan_values(n, (40, 44, 40))
        write_nifti(tmp_path / "archive" / "images" / f"case_{n:02}.nii.gz", values)
        write_nifti(
            tmp_path / "archive" / "labels" / f"case_{n:02}.nii.gz", (values > 500).astype("u1")
        )
    settings: dict[str, Any] = {"archive": tmp_path / "archive", "key_file": key_file}
    ingest(IngestConfig(**settings, store=tmp_path / "here", workers=1))
    victim = pids(cluster)[0]

    done_before: list[Path] = []

    def kill_one_that_works() -> None:
        while not done_before:
            time.sleep(0.02)
            done_before.extend((tmp_path / "there").glob("volumes/*/*.b2nd"))
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill_one_that_works)
    killer.start()
    scheduler = cluster.scheduler_address
    result = ingest(IngestConfig(**settings, store=tmp_path / "there", scheduler=scheduler))
    killer.join()
    assert len(done_before) < 12
    assert result.run.units_read == 12
    assert not result.rejected
    here, there = open_store(tmp_path / "here"), open_store(tmp_path / "there")
    for mine, other in zip(tables(here), tables(there), strict=True):
        assert mine == other
    for uid in here.manifest["volume_uid"]:
        assert (here.read(uid).voxels == there.read(uid).voxels).all()
    assert not list((tmp_path / "there").rglob("*.partial"))
    again = ingest(IngestConfig(**settings, store=tmp_path / "there", scheduler=scheduler))
    assert (again.run.units_read, again.num_volumes) == (0, 12)


def tables(store: Store) -> list[list[str]]:
    frames = (store.manifest, store.instances, store.labels, store.rejected)
    return [sorted(map(repr, frame.to_dict("records"))) for frame in frames]
