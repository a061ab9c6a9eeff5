"""Weights in safetensors: written atomically and reproducibly, loaded with a report.

A file with the same weights and metadata has the same bytes, so that a hash of it means something.
What other projects wrote is read as well (`medssl.models.foreign`), under the same names.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medssl.config import differing_keys
from medssl.errors import CheckpointError
from medssl.models.encoder import Encoder
from medssl.models.foreign import read_foreign

MIN_MATCHED = 0.9


@dataclass(frozen=True)
class LoadReport:
    """What a load matched, by name of the tensor in the network.

    Attributes:
        source: whose weights these are, where they are not medssl's; else empty.
        matched: taken from the file.
        missing: in the network, not in the file, or there with another shape: left as they were.
        unexpected: in the file, not in the network: left out.
        adapted: those of `matched` that were fitted to another number of input channels.
        fresh: parts of the network that nothing was sought for: a decoder where the file has none
            or none is wanted, and heads.
        share: of the encoder's numbers, the share that matched: the smaller one of the
            network's and the file's.
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    adapted: tuple[str, ...]
    fresh: tuple[str, ...]
    share: float

    def lines(self) -> list[str]:
        """For the reader: one line a module, and one line in sum."""
        kinds = {"matched": self.matched, "missing": self.missing, "unexpected": self.unexpected}
        modules = sorted({_module_of(name) for names in kinds.values() for name in names})
        lines = [f"weights of {self.source}"] if self.source else []
        for module in modules:
            counts = {
                kind: sum(_module_of(name) == module for name in names)
                for kind, names in kinds.items()
            }
            lines.append(
                f"{module}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items() if n)
            )
        lines += [f"{name}: fitted to the number of input channels" for name in self.adapted]
        lines += [f"{part}: not from the file, starts fresh" for part in self.fresh]
        return [*lines, f"{self.share:.0%} of the encoder's weights matched"]


def save_weights(
    path: Path, module_or_state: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, str]
) -> str:
    """Write weights and metadata, replacing `path` whole; returns the weights' sha256.

    The hash covers names, types, shapes and numbers, and is added to the metadata as
    "weights_sha256".
    """
    from safetensors.torch import save

    if isinstance(module_or_state, nn.Module):
        module_or_state = module_or_state.state_dict()
    state = {name: t.detach().cpu().contiguous() for name, t in module_or_state.items()}
    digest = weights_sha256(state)
    written = _in_order(save(state, metadata={**metadata, "weights_sha256": digest}))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return digest


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """A hash of names, types, shapes and numbers that does not depend on the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata that `save_weights` wrote.

    Of another project's file: "format" (its name in `foreign.FORMATS`), "weights_sha256" (of the
    weights under medssl's names), and "model" where the file shows the whole configuration.

    Raises:
        CheckpointError: there is no such file, or it is of no kind that is read.
    """
    if _is_own(path):
        with _opened(path) as file:
            return dict(file.metadata() or {})
    seen = path.stat()
    return dict(_foreign_metadata(path, seen.st_mtime_ns, seen.st_size))


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU, under medssl's names.

    Raises:
        CheckpointError: there is no such file, or it is of no kind that is read.
    """
    if _is_own(path):
        with _opened(path) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return read_foreign(path).state


def _is_own(path: Path) -> bool:
    """Whether `save_weights` wrote it. What is not there or damaged is told of as its own kind."""
    if path.suffix != ".safetensors":
        return not path.is_file()
    with _opened(path) as file:
        return "weights_sha256" in (file.metadata() or {})


@lru_cache(maxsize=8)
def _foreign_metadata(path: Path, mtime_ns: int, size: int) -> dict[str, str]:
    """Kept by the file's time and size: hashing reads all of it."""
    read = read_foreign(path)
    told = {"format": read.format.name, "weights_sha256": weights_sha256(read.state)}
    return told | ({"model": read.model.model_dump_json()} if read.model else {})


def load_encoder(
    path: Path, module: nn.Module, *, decoder: bool = True, min_matched: float = MIN_MATCHED
) -> LoadReport:
    """Take the pretrained encoder, and the decoder where both have one, into `module`.

    Where the number of input channels differs, the stem's weights are averaged over the file's
    channels, repeated, and scaled so that equal inputs give the same response.

    Args:
        path: file with tensors named encoder.* and, where pretraining made one, decoder.*; or one
            of another project, of a kind in `foreign.FORMATS`.
        module: an `Encoder`, or a network with `.encoder` (a segmenter also has `.decoder`).
        decoder: False leaves the decoder as it is.
        min_matched: the least share of the encoder's weights that has to match.

    Raises:
        CheckpointError: too little matched; the message names what differs. `module` is then
            unchanged.
    """
    encoder = module if isinstance(module, Encoder) else module.encoder
    assert isinstance(encoder, Encoder)
    prefix = "encoder." if module is encoder else ""
    own = {prefix + name: tensor for name, tensor in module.state_dict().items()}
    theirs = read_weights(path)
    wanted = ["encoder."]
    if decoder and any(name.startswith("decoder.") for name in theirs):
        wanted += ["decoder."] if any(name.startswith("decoder.") for name in own) else []
    parts = {name.partition(".")[0] + "." for name in own}
    own = {name: t for name, t in own.items() if name.startswith(tuple(wanted))}
    offered = {name: t for name, t in theirs.items() if name.startswith(tuple(wanted))}

    stem = f"encoder.{encoder.stem_key}"
    adapted = _fit_stem(offered, own, stem)
    matched = [n for n, t in own.items() if n in offered and offered[n].shape == t.shape]
    report = LoadReport(
        source=read_metadata(path).get("format", ""),
        matched=tuple(matched),
        missing=tuple(name for name in own if name not in matched),
        unexpected=tuple(name for name in theirs if name not in own),
        adapted=(stem,) if adapted else (),
        fresh=tuple(part.rstrip(".") for part in sorted(parts - set(wanted))),
        share=min(_encoder_share(matched, own), _encoder_share(matched, offered)),
    )
    if report.share < min_matched:
        raise CheckpointError(_misfit(path, report, own, offered, encoder))
    with torch.no_grad():
        for name in matched:
            own[name].copy_(offered[name])
    return report


def _fit_stem(offered: dict[str, Tensor], own: Mapping[str, Tensor], stem: str) -> bool:
    """Put a stem for the network's input channels in place of the file's; False: not needed."""
    if stem not in offered or stem not in own:
        return False
    theirs, ours = offered[stem], own[stem]
    same_elsewhere = theirs.shape[:1] + theirs.shape[2:] == ours.shape[:1] + ours.shape[2:]
    if theirs.shape == ours.shape or not same_elsewhere:
        return False
    offered[stem] = fitted_stem(theirs, ours.shape[1])
    return True


def fitted_stem(weight: Tensor, channels: int) -> Tensor:
    """A first kernel (out, in, ...) for `channels` inputs: equal inputs give the same response."""
    if weight.shape[1] == channels:
        return weight
    repeats = [1, channels] + [1] * (weight.ndim - 2)
    return (weight.sum(dim=1, keepdim=True) / channels).repeat(repeats)


def _encoder_share(matched: list[str], state: Mapping[str, Tensor]) -> float:
    sizes = {name: t.numel() for name, t in state.items() if name.startswith("encoder.")}
    total = sum(sizes.values())
    return sum(sizes.get(name, 0) for name in matched) / total if total else 0.0


def _misfit(
    path: Path,
    report: LoadReport,
    own: Mapping[str, Tensor],
    offered: Mapping[str, Tensor],
    encoder: Encoder,
) -> str:
    ours = json.loads(encoder.config.model_dump_json())
    described = read_metadata(path).get("model")
    model = differing_keys(json.loads(described), ours, "model.") if described else []
    shapes = [
        f"{name} is {tuple(offered[name].shape)} in the file, {tuple(own[name].shape)} here"
        for name in report.missing
        if name in offered
    ]
    absent = [f"{name} is not in the file" for name in report.missing if name not in offered]
    unused = [f"{name} is not in the network" for name in report.unexpected]
    differences = model or [*shapes[:3], *absent[:3], *unused[:3]]
    of = f" (weights of {report.source})" if report.source else ""
    percent = int(report.share * 100)
    below = f", or min_matched to {percent / 100} to load what matches" if percent else ""
    return (
        f"{path}{of}: {percent}% of the encoder's weights match this network; "
        + "; ".join(differences)
        + f"; set the model's configuration as the checkpoint's{below}"
    )


def _module_of(name: str) -> str:
    return ".".join(name.split(".")[:2])


def _in_order(written: bytes) -> bytes:
    """The same file with its header's keys sorted: the library writes metadata in any order."""
    length = int.from_bytes(written[:8], "little")
    header = json.dumps(
        json.loads(written[8 : 8 + length]), sort_keys=True, separators=(",", ":")
    ).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + written[8 + length :]


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"no weights at {path}; a run writes them to RUN/checkpoints/")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file, or a damaged one") from error
