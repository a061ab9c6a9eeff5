"""The prediction stage: a fine-tuned model applied to scans, one volume after the other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit, log_softmax, softmax

from medssl.archive.reasons import Reason
from medssl.augment.cache_config import CacheConfig
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.errors import NO_ROOM, MedsslError
from medssl.export.dicom_seg import Algorithm, write_segmentation
from medssl.predict.config import PredictConfig
from medssl.predict.inputs import Given, Item, Refused, check_places, open_input
from medssl.predict.model import TrainedModel, load_trained
from medssl.predict.nifti import read_mask, write_like, write_on_grid
from medssl.predict.results import Results
from medssl.progress import SILENT, Progress
from medssl.transfer.channel_scans import Case, channel_scans
from medssl.transfer.channels import Channels, match_channels
from medssl.transfer.ordinal_metrics import median_rank
from medssl.transfer.sources import centre_crop
from medssl.transfer.task_config import (
    MultilabelTask,
    OrdinalTask,
    RegressionTask,
    SegmentationTask,
)
from medssl.transfer.whole_volume import predict_mask, windows_of
from medssl.volume import Array

FAILED = "PREDICTION_FAILED"
NO_SEG = "SEG_NOT_WRITTEN"
Told = Callable[[int], None]


@dataclass(frozen=True)
class PredictResult:
    """What was predicted, and what was not.

    Attributes:
        predicted: volumes of this call.
        done_before: volumes that an earlier call had done.
        refused: files and series that ingest's judgement does not take.
        failed: volumes whose prediction broke down.
        without_seg: volumes that have their mask, but no DICOM SEG of it could be written.
        corrections: reason code -> how many of the volumes that have a row ingest corrected so.
    """

    out: Path
    predicted: int
    done_before: int
    refused: tuple[Refused, ...]
    failed: tuple[Refused, ...]
    without_seg: tuple[Refused, ...]
    corrections: Mapping[str, int] = field(default_factory=dict)

    @property
    def table(self) -> Path:
        return self.out / "predictions.csv"

    def lines(self) -> list[str]:
        """For the reader; the last one says where the results are."""
        lines = [f"{self.predicted} volumes predicted, {self.done_before} were done already"]
        if self.corrections:
            lines += ["corrected:", *_by_code(self.corrections)]
        if self.refused:
            lines.append(f"not taken: {len(self.refused)}")
            lines += _by_code(Counter(x.reason for x in self.refused))
        if self.failed:
            lines.append(f"failed: {len(self.failed)}")
            lines += _causes(self.failed)
        if self.without_seg:
            lines.append(f"masks without a DICOM SEG: {len(self.without_seg)}")
            lines += _causes(self.without_seg)
        if self.refused or self.failed or self.without_seg:
            lines.append(f"which: {self.out / 'not_predicted.csv'}")
        return [*lines, f"results: {self.table}"]


def _causes(cases: tuple[Refused, ...]) -> list[str]:
    counts = Counter(x.detail for x in cases)
    return [f"  {n}: {detail}" for detail, n in sorted(counts.items())]


def _by_code(counts: Mapping[str, int]) -> list[str]:
    return [f"  {code} {n}: {Reason[code].text}" for code, n in sorted(counts.items())]


def predict(config: PredictConfig, progress: Progress = SILENT) -> PredictResult:
    """Predict every volume of INPUT; call again to take up where it was.

    A volume that fails does not end the others; it is counted, and named in not_predicted.csv. So
    is one whose mask cannot be written as DICOM SEG; but it has its row, and another call tries
    only the SEG again.

    Raises:
        CheckpointError: `run` is no finished fine-tuning run.
        ConfigError: INPUT is missing or holds no scan, OUT holds something else or predictions of
            other weights or another INPUT, or one lies in the other.
        StoreError: INPUT is a store that cannot be read.
        OSError: the disk is full; what was predicted stays.
    """
    check_places(config)
    model = load_trained(config.run)
    predictor = (
        _Segmenter(model) if isinstance(model.task, SegmentationTask) else _WholeVolumes(model)
    )
    results = Results(config.out, model, config.input, predictor.columns)
    for line in model.told():
        progress.say(line)
    try:
        with open_input(config, progress) as given:
            cases, alone = _cases(given, model.channels, progress)
            todo = [x for x in cases if not results.is_done(x.item, predictor.files)]
            results.keep({x.item.name for x in cases} - {x.item.name for x in todo})
            if isinstance(predictor, _Segmenter):
                _retry_segs(predictor, given, cases, results)
            failed = [*alone, *_predict_all(predictor, given, todo, results, progress)]
            results.finish([*given.refused, *failed, *predictor.without_seg])
            return PredictResult(
                config.out,
                predicted=len(todo) - len(failed) + len(alone),
                done_before=len(cases) - len(todo),
                refused=tuple(given.refused),
                failed=tuple(failed),
                without_seg=tuple(predictor.without_seg),
                corrections=results.corrections(),
            )
    finally:
        results.close()


@dataclass(frozen=True)
class _Case:
    """One case: the volume that is predicted, and its scans, one for each channel."""

    item: Item
    scans: Case


def _cases(
    given: Given, channels: Channels | None, progress: Progress
) -> tuple[list[_Case], list[Refused]]:
    """What is to be predicted; and, of a model of several channels, what lacks one of them."""
    items = {item.volume_uid: item for item in given.items}
    if channels is None:
        scans = channel_scans(given.store, list(items), None)
        return [_Case(*one) for one in zip(items.values(), scans, strict=True)], []
    match = match_channels(given.store, list(items), channels)
    for line in match.lines():
        progress.say(line)
    alone = [
        Refused(items[uid].input, items[uid].part, FAILED, f"no {name} of the patient lies over it")
        for uid, name in match.lacking.items()
    ]
    cases = []
    scans = channel_scans(given.store, [uids[0] for uids in match.volumes], channels)
    for uids, of_case in zip(match.volumes, scans, strict=True):
        told = " ".join(items[uid].scan_sha256 for uid in uids)
        digest = hashlib.sha256(told.encode()).hexdigest()
        codes = [code for uid in uids for code in items[uid].corrections.split("+") if code]
        corrected = "+".join(dict.fromkeys(codes))
        item = replace(items[uids[0]], scan_sha256=digest, corrections=corrected)
        cases.append(_Case(item, of_case))
    return cases, alone


def _predict_all(
    predictor: _Segmenter | _WholeVolumes,
    given: Given,
    todo: list[_Case],
    results: Results,
    progress: Progress,
) -> list[Refused]:
    reader = Reader(given.store, CacheConfig(gigabytes=0))
    sizes = [predictor.size(one.scans[0]) for one in todo]
    failed = []
    progress.start(f"predicting ({predictor.unit})", sum(sizes))
    try:
        for number, (one, size) in enumerate(zip(todo, sizes, strict=True), start=1):
            item = one.item
            told = _Told(progress, f"{number}/{len(todo)}")
            try:
                row = predictor.predict(given, item, reader, one.scans, results.out, told)
            except Exception as error:
                cause = _cause(error)
                failed.append(Refused(item.input, item.part, FAILED, cause))
                progress.say(f"volume {item.name}: {cause}")
                told(size - told.done)
                continue
            results.add(item, row)
    finally:
        progress.finish()
    return failed


def _retry_segs(predictor: _Segmenter, given: Given, cases: list[_Case], results: Results) -> None:
    """Of masks that an earlier call finished without."""
    for one in cases:
        item = one.item
        has_mask = _has_dicom(item) and results.is_done(item, ("mask",))
        if has_mask and not results.is_done(item, ("seg",)):
            seg = predictor.write_seg(given, item, one.scans[0], results.out)
            results.change(item, {"seg": seg})


class _Told:
    """Tells how much of one volume is done, and remembers it."""

    def __init__(self, progress: Progress, volume: str) -> None:
        self._progress, self._volume = progress, volume
        self.done = 0

    def __call__(self, units: int) -> None:
        self.done += units
        self._progress.advance(units, volume=self._volume)


def _cause(error: Exception) -> str:
    """Without anything of the patient's: other libraries quote values. A full disk is no cause."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        raise error
    return str(error) if isinstance(error, MedsslError) else type(error).__name__


class _Segmenter:
    """Masks as NIfTI and, of DICOM files, as SEG; how large each class is."""

    unit = "windows"

    def __init__(self, model: TrainedModel) -> None:
        assert isinstance(model.task, SegmentationTask)
        self.model = model
        self.values = tuple(int(c) for c in model.classes)
        self.labels = {value: f"{model.task.mask} {value}" for value in self.values}
        self.columns = ("mask", "seg", *(f"ml_{value}" for value in self.values))
        self.files = ("mask",)  # without which a volume is not done
        self.without_seg: list[Refused] = []

    def size(self, scan: ScanInfo) -> int:
        """In windows."""
        return windows_of(scan, self.model.patch)

    def predict(
        self, given: Given, item: Item, reader: Reader, case: Case, out: Path, told: Told
    ) -> dict[str, str]:
        """Write the mask of one volume, and the SEG if that can be; its row."""
        patch, values, scan = self.model.patch, (0, *self.values), case[0]
        mask = predict_mask(self.model.network, reader, case, patch, values, told)
        place = _mask_of(item)
        if item.is_dicom:  # column, row, slice, as viewers of NIfTI expect
            write_on_grid(out / place, mask.transpose(2, 1, 0), scan.affine[:, [2, 1, 0, 3]])
        elif item.source is not None:
            write_like(out / place, mask, item.source)
        else:
            write_on_grid(out / place, mask, scan.affine)
        return {
            "mask": place.as_posix(),
            "seg": self.write_seg(given, item, scan, out, mask) if _has_dicom(item) else "",
            **self._volumes(mask, abs(float(np.linalg.det(scan.affine[:3, :3])))),
        }

    def write_seg(
        self, given: Given, item: Item, scan: ScanInfo, out: Path, mask: Array | None = None
    ) -> str:
        """Write the SEG of a mask, or of the one that is there; its place, empty if it cannot be.

        What hinders it is kept in `without_seg`.
        """
        place = Path("seg") / f"{item.name}.dcm"
        (out / place).unlink(missing_ok=True)  # it may be that of an earlier scan
        made_by = Algorithm("medssl predict", self.model.weights_sha256)
        try:
            if mask is None:
                mask = read_mask(out / _mask_of(item)).transpose(2, 1, 0)
            files = given.dicom_files(item)
            write_segmentation(out / place, files, mask, scan.affine, self.labels, made_by)
        except Exception as error:
            detail = f"only the SEG is missing, the mask is there: {_cause(error)}"
            self.without_seg.append(Refused(item.input, item.part, NO_SEG, detail))
            return ""
        return place.as_posix()

    def _volumes(self, mask: Array, voxel_mm3: float) -> dict[str, str]:
        counts = np.zeros(max(self.values) + 1, dtype=np.int64)
        for plane in mask:  # bincount makes 64-bit integers of all that it is given
            counts += np.bincount(plane.ravel(), minlength=len(counts))
        return {f"ml_{v}": f"{counts[v] * voxel_mm3 / 1000:.4f}" for v in self.values}


class _WholeVolumes:
    """What each volume as a whole gets: a class, findings or a number."""

    unit = "volumes"

    def __init__(self, model: TrainedModel) -> None:
        self.model = model
        self.files = ()
        self.without_seg: list[Refused] = []
        probabilities = tuple(f"probability_{name}" for name in model.classes)
        self.columns = (() if isinstance(model.task, MultilabelTask) else ("predicted",)) + (
            probabilities
        )

    def size(self, scan: ScanInfo) -> int:
        """One volume."""
        return 1

    @torch.no_grad()
    def predict(
        self, given: Given, item: Item, reader: Reader, case: Case, out: Path, told: Told
    ) -> dict[str, str]:
        """The row of one volume: a crop around the middle of its foreground, as in fine-tuning."""
        patch, network = self.model.patch, self.model.network
        crop = centre_crop(reader, case, patch)
        device = next(network.parameters()).device
        outputs = network(torch.from_numpy(crop)[None].to(device))[0]
        values = self._values(outputs.double().cpu().numpy())
        told(1)
        return dict(zip(self.columns, values, strict=True))

    def _values(self, outputs: Array) -> list[str]:
        """Those of `columns`, from the network's (K,) outputs."""
        match self.model.task:
            case RegressionTask():
                return [f"{outputs[0]:.6g}"]
            case MultilabelTask():
                return [f"{p:.6f}" for p in expit(outputs)]
        probabilities = softmax(outputs)
        shown = [f"{p:.6f}" for p in probabilities]
        ranked = isinstance(self.model.task, OrdinalTask)
        threshold = self.model.threshold
        if ranked:
            answer = median_rank(log_softmax(outputs))
        elif threshold is not None:
            answer = int(outputs[1] - outputs[0] >= threshold)
        else:
            answer = int(probabilities.argmax())
        return [self.model.classes[answer], *shown]


def _mask_of(item: Item) -> Path:
    return Path("masks") / f"{item.name}.nii.gz"


def _has_dicom(item: Item) -> bool:
    """Whether its DICOM files are there; those of a store are not."""
    return item.is_dicom and item.source is not None
