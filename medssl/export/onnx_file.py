"""A fine-tuned network as an ONNX file, checked against torch in onnxruntime."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medssl import __version__
from medssl.errors import ConfigError, JudgedAndFailed
from medssl.export.finetuned import Finetuned, greatest_difference, load_finetuned
from medssl.export.place import check_place
from medssl.store.writer import write_atomically

INPUT, OUTPUT = "image", "logits"
LARGEST_DIFFERENCE = 1e-4
_CHECKED_BATCHES = (1, 3)


@dataclass(frozen=True)
class OnnxExport:
    """What was written; `difference` is relative to the largest logit."""

    path: Path
    opset: int
    difference: float

    def lines(self) -> list[str]:
        """For the reader."""
        return [
            f"ONNX:  {self.path}; opset {self.opset}, input {INPUT} (batch, 1, D, H, W)",
            f"check: onnxruntime and torch differ by {self.difference:.1e} of the largest logit, "
            f"on random patches in batches of {' and '.join(map(str, _CHECKED_BATCHES))}",
        ]


def export_onnx(run: Path, out: Path) -> OnnxExport:
    """Write the network of a fine-tuning run: patches (B, 1, D, H, W) to logits, any batch.

    Resampling and normalisation are not part of it: its metadata_props say what they are.

    Raises:
        ConfigError, CheckpointError: as `load_finetuned`; or nothing can be written at
            `out`, or onnx and onnxruntime are missing.
        JudgedAndFailed: onnxruntime's answers differ from torch's; nothing is written.
    """
    check_place(out)
    finetuned = load_finetuned(run)
    proto = _converted(finetuned)
    for name, value in {**finetuned.facts(), "medssl_version": __version__}.items():
        text = value if isinstance(value, str) else json.dumps(value)
        proto.metadata_props.add(key=name, value=text)
    written: bytes = proto.SerializeToString()
    difference = checked(written, finetuned)
    write_atomically(out, written)
    return OnnxExport(out, proto.opset_import[0].version, difference)


def checked(written: bytes, finetuned: Finetuned) -> float:
    """The greatest difference between onnxruntime's and torch's logits, relative to the largest.

    Raises:
        JudgedAndFailed: it is larger than rounding explains.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    worst = 0.0
    for seed, count in enumerate(_CHECKED_BATCHES):
        patches = finetuned.random_patches(count, seed)
        with torch.inference_mode():
            expected = finetuned.network(patches)
        (found,) = session.run([OUTPUT], {INPUT: patches.numpy()})
        worst = max(worst, greatest_difference(expected, torch.from_numpy(found)))
    if not worst <= LARGEST_DIFFERENCE:
        raise JudgedAndFailed(
            f"onnxruntime's logits differ from torch's by {worst:.1e} of the largest; nothing was "
            "written. Try other versions of onnx and onnxruntime"
        )
    return worst


def _converted(finetuned: Finetuned) -> Any:
    """The network as an ONNX ModelProto."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "onnx, onnxruntime and onnxscript are needed: pip install 'medssl[export]'"
        ) from error
    # Two in the batch: an example of one would be taken for a fixed size.
    example = finetuned.random_patches(2)
    with torch.no_grad(), _plain_attention(), _quiet():
        finetuned.network(example)  # what it makes once for each grid is made outside of the trace
        program = torch.onnx.export(
            finetuned.network,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Transformer blocks as the operators they are made of: the fused one has no counterpart."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's talk of optional packages and of its progress."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
