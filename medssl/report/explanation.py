"""The sections of a fine-tuning's report that show cases: what was answered, and on what ground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from medssl.engine.run_folder import RunFolder
from medssl.report.page import Section
from medssl.store import Store

if TYPE_CHECKING:
    from medssl.transfer.config import FinetuneConfig


def explanation_sections(
    run: RunFolder, config: FinetuneConfig, store: Store, predictions: pd.DataFrame
) -> list[Section]:
    """Saliency of a classifier or overlays of a segmenter, and a map of the embeddings.

    The network is the one that the run kept; where it kept several there is no map. Other tasks
    have no such sections.
    """
    from medssl.export.finetuned import read_network
    from medssl.models.build import Classifier
    from medssl.report.embedding_map import embedding_map_parts
    from medssl.report.saliency import saliency_parts
    from medssl.report.segmented_cases import case_parts, worst_and_median
    from medssl.transfer.cases import labelled_cases
    from medssl.transfer.task_config import SegmentationTask

    if config.task.name not in ("classification", "segmentation"):
        return []
    test = predictions[predictions["split"] == "test"].reset_index(drop=True)
    sections = []
    if isinstance(config.task, SegmentationTask):
        worst, median = worst_and_median(test)
        for heading, rows in (("The worst test cases", worst), ("Median test cases", median)):
            parts = case_parts(run.path, store, config.task, test, rows)
            sections += [Section(heading, parts)] if parts else []
    if not (run.checkpoints / "model.safetensors").is_file():
        return sections
    finetuned = read_network(run.path, flips=False)  # a map of a mirror image would be mirrored
    patch = config.augment.patch
    classes = None
    if isinstance(finetuned.network, Classifier):
        classes = finetuned.classes
        parts = saliency_parts(finetuned.network, store, test, classes, patch, config.channels)
        sections.append(Section("What the answers rest on", parts))
    volumes = pd.read_parquet(run.path / "cases.parquet")
    parts_of = volumes.loc[volumes["channel"] == 0, ["volume_uid", "split"]]
    labels = labelled_cases(store, config.task).frame[["volume_uid", "y_true"]]
    cases = parts_of.merge(labels, on="volume_uid", validate="one_to_one")
    encoder = finetuned.network.encoder
    parts = embedding_map_parts(encoder, store, cases, classes, patch, config.channels)
    return [*sections, *([Section("A map of the cases", parts)] if parts else [])]
