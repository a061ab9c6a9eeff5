"""Files that others wrote: opened without running anything that they hold."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medssl.errors import CheckpointError

State = dict[str, Tensor]

# Where a checkpoint keeps its weights: nnU-Net and nnssl; most training scripts; MONAI's handlers.
_WEIGHTS = ("network_weights", "state_dict", "model_state_dict", "net_state_dict", "model", "net")

# What wrappers put before every name: DataParallel, torch.compile, Lightning.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")


def read_foreign_file(path: Path) -> tuple[State, dict[str, Any]]:
    """The weights of a file under the names that their network gave them, and all else in it.

    Opened by torch's restricted unpickler (tensors, numbers, text, plain containers, numbers of
    numpy), so that no code of the file runs.

    Raises:
        CheckpointError: it is damaged, a TorchScript program, holds other objects, or no weights.
    """
    content = _load(path)
    state: Any = content
    for name in _WEIGHTS:
        if isinstance(content.get(name), dict):
            state = content[name]
            break
    tensors = {str(n): t for n, t in state.items() if isinstance(t, Tensor)}
    if not tensors:
        held = ", ".join(sorted(str(name) for name in content)[:6]) or "nothing"
        raise CheckpointError(
            f"{path} holds no weights that are found by name, but {held}; save the network's "
            "state_dict() by itself"
        )
    rest = {str(name): value for name, value in content.items() if value is not state}
    return _from_encoder(_without_prefixes(tensors), rest), rest


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    zipped = zipfile.is_zipfile(path)
    if zipped and _is_torchscript(path):
        raise CheckpointError(
            f"{path} is a TorchScript program; take the weights beside it (model.pt), or save the "
            "network's state_dict()"
        )
    try:
        with torch.serialization.safe_globals(_numbers_of_numpy()):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is no file of torch, or holds objects beside tensors and numbers, which "
            "could run code when opened; have its author save the network's state_dict() by itself"
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is no file of torch, or a damaged one") from error
    return content if isinstance(content, dict) else {"": content}


def _load_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {"state_dict": load_file(path)}
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file, or a damaged one") from error


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _numbers_of_numpy() -> list[Any]:
    """Scores and losses that checkpoints keep as numpy's numbers, under its old and new names."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = ("float64", "float32", "float16", "int64", "int32", "uint8", "bool")
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *(type(np.dtype(kind)) for kind in kinds),
    ]


def _without_prefixes(state: State) -> State:
    while True:
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
                break
        else:
            return state


def _from_encoder(state: State, rest: dict[str, Any]) -> State:
    """nnssl's plan says under which name its encoder stands; here it is `encoder`."""
    plan = rest.get("nnssl_adaptation_plan") or {}
    stages, stem = str(plan.get("key_to_encoder", "")), str(plan.get("key_to_stem", ""))
    if not (stages.endswith("stages") and stem.endswith("stem")):
        return state
    before = {stages: "encoder.stages", stem: "encoder.stem"}
    around = stages.removesuffix("encoder.stages")
    if around != stages:
        before[f"{around}decoder"] = "decoder"
    renamed = {}
    for name, tensor in state.items():
        for old, new in before.items():
            if name.startswith(f"{old}."):
                name = f"{new}.{name[len(old) + 1 :]}"
                break
        renamed[name] = tensor
    return renamed


def bundle_network(weights: Path) -> dict[str, Any]:
    """The `network_def` of the MONAI bundle whose weights these are; {} where there is none.

    A bundle is a folder with configs/ and models/; expressions in it are not evaluated.
    """
    folder = weights.parent.parent / "configs"
    for name in ("inference.json", "train.json", "inference.yaml", "train.yaml"):
        file = folder / name
        if file.is_file():
            network = _parsed(file).get("network_def")
            if isinstance(network, dict):
                return network
    return {}


def _parsed(file: Path) -> dict[str, Any]:
    import yaml

    text = file.read_text(encoding="utf-8")
    try:
        values = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{file} is not valid {file.suffix[1:].upper()}") from error
    return values if isinstance(values, dict) else {}
