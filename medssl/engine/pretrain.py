"""The pretraining stage: from a store to an encoder whose weights load elsewhere."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl import tracking
from medssl.augment.device_source import DevicePretrainSource
from medssl.augment.pretraining import PretrainSource
from medssl.config import without_paths
from medssl.engine.config import PretrainConfig
from medssl.engine.cost import Meter, cost_figures
from medssl.engine.distributed import World, joined_world
from medssl.engine.health import Watch, watch_of
from medssl.engine.loop import train
from medssl.engine.population import pretraining_rows, write_population
from medssl.engine.run_folder import RunFolder
from medssl.engine.seeding import seed_weights
from medssl.engine.step import check_parts
from medssl.errors import CollapseError, ConfigError, Interrupted
from medssl.methods.catalogue import METHODS
from medssl.models.weights import save_weights
from medssl.progress import SILENT, Progress
from medssl.report.pretraining import write_pretraining_report
from medssl.store import open_store

if TYPE_CHECKING:
    import pandas as pd

    from medssl.methods.base import Method
    from medssl.store import Store

_COLLAPSE = "collapse"  # why a run was stopped, so that the same command says it again


@dataclass(frozen=True)
class PretrainResult:
    """Where the run is, its encoder, and how long the steps took.

    `was_done`: an earlier call had finished it. `leads`: this is the process that wrote it.
    """

    run: Path
    encoder: Path
    seconds: float
    volumes: int
    final_loss: float
    was_done: bool
    leads: bool


def pretrain(config: PretrainConfig, out: Path, progress: Progress = SILENT) -> PretrainResult:
    """Pretrain an encoder; call again with the same arguments to resume or to be told it is done.

    Under torchrun every process calls this function; the leading one writes.

    Raises:
        ConfigError: the configuration cannot be run on this store, or `out` holds another run.
        CollapseError: the encoder learns nothing, now or when the run was stopped for it; the
            report, which is written first, shows how.
    """
    store = open_store(config.store)
    rows = pretraining_rows(store, config)
    with joined_world() as world:
        check_parts(config.batch_size, world.size, config.optim.accumulate)
        if config.sample_on == "device" and world.device.type != "cuda":
            raise ConfigError("sample_on: device needs a GPU, and there is none; set it to cpu")
        # Before there is a folder, which the configuration that is put right could not use.
        work = None if _is_done(out) else method_and_source(config, store, rows)
        run = _open_run(out, config, world, store.key_id)
        try:
            if world.agreed(run.is_done) or work is None:
                return _result(run, was_done=True, leads=world.leads)
            stopped = world.agreed(run.recall(_COLLAPSE))
            if stopped is not None:
                raise CollapseError(stopped)
            progress = progress if world.leads else SILENT
            return _pretrain(config, store, rows, work, run, world, progress)
        except CollapseError:
            # Once one process has ended, torchrun ends the others: the leading one writes first.
            world.agreed(None)
            raise
        finally:
            run.close()


def _open_run(out: Path, config: PretrainConfig, world: World, key_id: str) -> RunFolder:
    """The leading process opens (and locks) the folder; the others read it afterwards."""
    if world.leads:
        run = RunFolder.open(out, config, "pretrain")
        if not run.is_done:
            run.bind_key(key_id)
        world.agreed("open")
        return run
    world.agreed(None)
    return RunFolder(out, "pretrain", None)


def _is_done(out: Path) -> bool:
    return RunFolder(out, "pretrain", None).is_done


def _pretrain(
    config: PretrainConfig,
    store: Store,
    rows: pd.DataFrame,
    work: tuple[Method, PretrainSource],
    run: RunFolder,
    world: World,
    progress: Progress,
) -> PretrainResult:
    method, source = work
    tracker = watch = None
    if world.leads:
        digest = write_population(run.path, store, rows)
        tracker = _start_tracking(config, run, digest, len(rows))
    status = "FAILED"
    try:
        if tracker is not None:
            method.to(world.device)
            watch = watch_of(config, store, rows, method, run, world, tracker, progress)
            if watch is not None:
                watch.before_training()
        every = world.agreed(watch.every if watch else 0)
        meter = Meter() if world.leads else None
        with meter or nullcontext():
            outcome = train(
                method,
                source,
                optim=config.optim,
                runtime=config.runtime,
                steps=config.steps,
                seed=config.seed,
                run=run,
                world=world,
                tracker=tracker,
                progress=progress,
                what=f"pretraining ({config.method.name}, {len(rows)} volumes)",
                validate=(watch or _looked_at_elsewhere) if every else None,
                validate_every=every,
                meter=meter,
            )
        if tracker is not None and meter is not None:
            cost = {"seconds": outcome.seconds, **meter.state_dict()}
            _finish(config, store, method, run, cost, len(rows), tracker, watch)
        status = "FINISHED"
    except CollapseError as error:
        if tracker is not None:
            tracker.artifact(_report(config, run, len(rows), watch))
            run.remember(_COLLAPSE, str(error))
        raise
    except (Interrupted, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        if tracker is not None:
            tracker.close(status)
    # Nobody reads the summary before the leading process has written it.
    world.agreed(True)
    return _result(run, was_done=False, leads=world.leads)


def _looked_at_elsewhere(step: int) -> dict[str, float]:
    raise AssertionError(f"the look after step {step} is the leading process's")


def method_and_source(
    config: PretrainConfig, store: Store, rows: pd.DataFrame
) -> tuple[Method, PretrainSource]:
    """The method with its initial weights, and what draws its batches.

    Raises:
        ConfigError: method, network and patch do not suit each other.
    """
    seed_weights(config.seed)
    patch = config.augment.patch.size
    method = METHODS[config.method.name](config.method, config.model, 1, patch, config.seed)
    drawn_by = DevicePretrainSource if config.sample_on == "device" else PretrainSource
    source = drawn_by(
        store,
        rows,
        config.augment,
        num_views=method.num_views,
        overlap=method.overlap or (1.0, 1.0),
        intensity=method.intensity,
        clean=method.clean,
        seed=config.seed,
        global_batch=config.batch_size,
        cache=config.runtime.cache,
    )
    return method, source


def _start_tracking(
    config: PretrainConfig, run: RunFolder, digest: str, volumes: int
) -> tracking.Tracker:
    tracker = tracking.start(
        "pretrain",
        run.path.name,
        without_paths(config),
        run_id=run.recall("mlflow_run"),
        system_metrics=True,
    )
    run.remember("mlflow_run", tracker.run_id)
    tracker.dataset("pretraining", digest, volumes)
    return tracker


def _finish(
    config: PretrainConfig,
    store: Store,
    method: Method,
    run: RunFolder,
    cost: dict[str, Any],
    volumes: int,
    tracker: tracking.Tracker,
    watch: Watch | None,
) -> None:
    """Write the encoder, the report and the summary, in this order.

    Args:
        cost: {seconds, peak_memory_bytes, kwh} of the steps, with the looks between them.
    """
    encoder = run.checkpoints / "encoder.safetensors"
    config_text = json.dumps(without_paths(config), sort_keys=True)
    save_weights(
        encoder,
        method.export_state(),
        {
            "model": config.model.model_dump_json(),
            "in_channels": "1",
            "patch_size": json.dumps(config.augment.patch.size),
            "method": config.method.name,
            "step": str(config.steps),
            "store_key_id": store.key_id,
            "config_sha256": hashlib.sha256(config_text.encode()).hexdigest(),
        },
    )
    losses = [row["train/loss"] for row in run.read_metrics() if "train/loss" in row]
    for path in (encoder, _report(config, run, volumes, watch)):
        tracker.artifact(path)
    tracker.log(config.steps, {**cost_figures(cost), "cost/steps": config.steps})
    run.finish({**cost, "volumes": volumes, "final_loss": losses[-1]})


def _report(config: PretrainConfig, run: RunFolder, volumes: int, watch: Watch | None) -> Path:
    seen = watch.seen() if watch is not None else None
    return write_pretraining_report(run, config, volumes, seen)


def _result(run: RunFolder, *, was_done: bool, leads: bool) -> PretrainResult:
    summary = run.summary()
    return PretrainResult(
        run.path,
        run.checkpoints / "encoder.safetensors",
        summary["seconds"],
        summary["volumes"],
        summary["final_loss"],
        was_done,
        leads,
    )
