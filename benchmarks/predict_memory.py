"""Memory of `medssl predict` on a long CT: python benchmarks/predict_memory.py [--slices 1000]

Writes a synthetic CT of 512x512 voxels a slice as NIfTI (int16, 0.8x0.8x1 mm), predicts it with a
segmenter of random weights, and watches the memory of the process and of those it starts. The last
line is one JSON object: gigabytes at the peak, the scan's own size, and seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil

SIDE = 512


def write_ct(path: Path, slices: int) -> None:
    """A body of noisy soft tissue in air, with balls in it."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    body = (x / 0.8) ** 2 + (y / 0.6) ** 2 < 1
    voxels = np.empty((SIDE, SIDE, slices), dtype=np.int16, order="F")
    for k in range(slices):
        ball = (x - 0.3) ** 2 + y**2 + ((k % 200 - 100) / 256) ** 2 < 0.04
        voxels[..., k] = np.where(body, 40 + 60 * ball, -1000) + rng.normal(0, 12, body.shape)
    nib.Nifti1Image(voxels, np.diag([0.8, 0.8, 1.0, 1.0])).to_filename(path)


def write_run(run: Path, spacing_mm: float | None, patch: int) -> None:
    """The folder of a fine-tuning run, with weights as they are drawn."""
    import torch
    import yaml

    from medssl.models.build import build_segmenter
    from medssl.models.config import SegResNetConfig
    from medssl.models.weights import save_weights
    from medssl.transfer.task_config import SegmentationTask

    torch.manual_seed(0)
    model = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
    size = (patch, patch, patch)
    about = {
        "model": model.model_dump_json(),
        "in_channels": "1",
        "task": SegmentationTask().model_dump_json(),
        "classes": '["1"]',
    }
    network = build_segmenter(model, 1, 2, size)
    save_weights(run / "checkpoints" / "model.safetensors", network, about)
    settings = {"augment": {"patch": {"size": list(size), "spacing_mm": spacing_mm}}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))


def peak_of(command: list[str]) -> tuple[float, float, float]:
    """Peak GB of the largest single process and of all together, and seconds."""
    began = time.monotonic()
    started = subprocess.Popen(command)
    single, together = 0, 0
    while started.poll() is None:
        try:
            tree = [psutil.Process(started.pid), *psutil.Process(started.pid).children(True)]
            held = [p.memory_full_info().pss for p in tree if p.status() != psutil.STATUS_ZOMBIE]
        except psutil.Error:
            continue
        single, together = max([single, *held]), max(together, sum(held))
        time.sleep(0.1)
    if started.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {started.returncode}")
    return single / 1e9, together / 1e9, time.monotonic() - began


def main() -> None:
    """Make the scan and the model, predict, and tell the peak."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--spacing", type=float, default=None, help="mm; else the scan's own")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "in").mkdir()
        write_ct(root / "in" / "ct.nii.gz", given.slices)
        write_run(root / "run", given.spacing, given.patch)
        names = ["predict", str(root / "run"), str(root / "in"), "--out", str(root / "out")]
        command = [sys.executable, "-m", "medssl", *names, "--modality", "CT"]
        single, together, seconds = peak_of(command)
    scan = SIDE * SIDE * given.slices * 2 / 1e9
    print(
        json.dumps(
            {
                "slices": given.slices,
                "scan_gb": round(scan, 3),
                "largest_process_gb": round(single, 2),
                "all_processes_gb": round(together, 2),
                "seconds": round(seconds),
            }
        )
    )


if __name__ == "__main__":
    main()
