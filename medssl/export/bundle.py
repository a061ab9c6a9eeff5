"""A fine-tuned network as a MONAI bundle, which runs without medssl."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medssl import __version__
from medssl.errors import ConfigError, JudgedAndFailed
from medssl.export.finetuned import Finetuned, greatest_difference, load_finetuned
from medssl.export.monai_networks import as_monai_network
from medssl.export.place import check_place
from medssl.export.torchscript import named_devices, traced
from medssl.store.writer import write_atomically

LARGEST_DIFFERENCE = 1e-4
_SCRIPTS = Path(__file__).parent / "bundle_scripts"
_TORCHSCRIPT = {
    "_target_": "torch.jit.load",
    "f": "$@bundle_root + '/models/model.ts'",
    "map_location": "@device",
}
_ANY_DEVICE = "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')"
_CPU = "$torch.device('cpu')"


@dataclass(frozen=True)
class BundleExport:
    """What was written; `difference` is relative to the largest logit.

    `cpu_only`: the network's TorchScript names the CPU, so that it runs nowhere else.
    """

    path: Path
    network: str
    configs: tuple[str, ...]
    difference: float
    cpu_only: bool

    def lines(self) -> list[str]:
        """For the reader, with what to run next."""
        where = ", on the CPU alone" if self.cpu_only else ""
        return [
            f"bundle: {self.path}; network {self.network}{where}; {', '.join(self.configs)}",
            f"check:  its network and torch's differ by {self.difference:.1e} of the largest logit",
            f"next:   cd {self.path}; python -m monai.bundle run "
            f"--config_file configs/{self.configs[0]} --dataset_dir SCANS",
        ]


def export_bundle(run: Path, out: Path) -> BundleExport:
    """Write a bundle: configs/, models/, scripts/, docs/README.md.

    The network is MONAI's own class with its weights in models/model.pt where medssl's maps onto
    one, else TorchScript in models/model.ts. Each kind of units that the network learned from has a
    config, the most frequent one inference.json. It takes a GPU where there is one, unless the
    TorchScript names the CPU.

    Raises:
        ConfigError, CheckpointError: as `load_finetuned`; or `out` is there already, or
            nothing can be written there.
        JudgedAndFailed: the bundle's network gives other numbers; nothing is kept.
    """
    if out.exists():
        raise ConfigError(f"{out} is there already; choose another --out")
    check_place(out)
    finetuned = load_finetuned(run)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        definition, cpu_only = _write_network(finetuned, partial)
        names = []
        for number, units in enumerate(finetuned.units):
            names.append("inference.json" if number == 0 else f"inference_{units}.json")
            config = _inference(finetuned, definition, units, _CPU if cpu_only else _ANY_DEVICE)
            _write_json(partial / "configs" / names[-1], config)
        _write_json(partial / "configs" / "metadata.json", _metadata(finetuned))
        shutil.copytree(_SCRIPTS, partial / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        write_atomically(partial / "docs" / "README.md", _readme(finetuned, names, cpu_only))
        difference = _checked(finetuned, partial, definition)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    network = str(definition["_target_"])
    shown = f"monai {network}" if definition is not _TORCHSCRIPT else "TorchScript"
    return BundleExport(out, shown, tuple(names), difference, cpu_only)


def _write_network(finetuned: Finetuned, folder: Path) -> tuple[dict[str, Any], bool]:
    """Write the weights; gives the config's network_def, and whether it runs on the CPU alone."""
    known = as_monai_network(finetuned)
    if known is not None:
        held = io.BytesIO()
        torch.save(known.state, held)
        write_atomically(folder / "models" / "model.pt", held.getvalue())
        return known.definition, False
    from monai.data import save_net_with_metadata

    script = traced(finetuned.network, finetuned.random_patches(1))
    (folder / "models").mkdir(parents=True)
    save_net_with_metadata(
        script, str(folder / "models" / "model.ts"), meta_values=finetuned.facts()
    )
    return _TORCHSCRIPT, bool(named_devices(script))


def _checked(finetuned: Finetuned, folder: Path, definition: dict[str, Any]) -> float:
    """How far the logits of the written network, read by MONAI, are from torch's."""
    from monai.bundle import ConfigParser

    parser = ConfigParser({"network_def": definition, "bundle_root": str(folder), "device": "cpu"})
    network: nn.Module = parser.get_parsed_content("network_def")
    if definition is not _TORCHSCRIPT:
        network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    network.eval()
    patches = finetuned.random_patches(2)
    with torch.inference_mode():
        expected: Tensor = finetuned.network(patches)
        found: Tensor = network(patches)
    difference = greatest_difference(expected, found)
    if not difference <= LARGEST_DIFFERENCE:
        raise JudgedAndFailed(
            f"the bundle's logits differ from torch's by {difference:.1e} of the largest; nothing "
            "was written"
        )
    return difference


def _inference(
    finetuned: Finetuned, definition: dict[str, Any], units: str, device: str
) -> dict[str, Any]:
    """inference.json; scans come from `dataset_dir`, answers go to `output_dir`."""
    segments = finetuned.task == "segmentation"
    spacing = None if finetuned.spacing_mm is None else list(finetuned.spacing_mm)
    size = None if segments else list(finetuned.patch)
    weights = "torch.load(@bundle_root + '/models/model.pt', weights_only=True)"
    load = f"$@network_def.load_state_dict({weights})"
    shared: dict[str, Any] = {
        "imports": ["$import glob", "$import torch", "$import scripts.predict as predict"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": device,
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii') + "
        "glob.glob(@dataset_dir + '/*.nii.gz'))",
        "network_def": definition,
        "network": "$@network_def.to(@device).eval()",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
                {"_target_": "scripts.preprocess.Measured", "keys": "image", "units": units},
                {
                    "_target_": "scripts.preprocess.OnTrainingGrid",
                    "keys": "image",
                    "spacing_mm": spacing,
                    "size": size,
                },
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "initialize": [] if definition is _TORCHSCRIPT else [load],
    }
    return shared | (_segmenting(finetuned) if segments else _classifying(finetuned))


def _segmenting(finetuned: Finetuned) -> dict[str, Any]:
    values = [0, *(int(value) for value in finetuned.classes)]
    return {
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(finetuned.patch),
            "sw_batch_size": 2,
            "overlap": 0.5,
            "mode": "gaussian",
            "device": "cpu",
            "sw_device": "@device",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {
                    "_target_": "MapLabelValued",
                    "keys": "pred",
                    "orig_labels": list(range(len(values))),
                    "target_labels": values,
                },
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "mask",
                    "output_dtype": "$torch.uint8",
                    "resample": False,
                    "separate_folder": False,
                },
            ],
        },
        "run": ["$predict.segment(@network, @dataloader, @inferer, @postprocessing, @device)"],
    }


def _classifying(finetuned: Finetuned) -> dict[str, Any]:
    return {
        "classes": list(finetuned.classes),
        "inferer": {"_target_": "SimpleInferer"},
        "run": [
            "$predict.classify(@network, @dataloader, @classes, @device, "
            "@output_dir + '/probabilities.csv')"
        ],
    }


def _metadata(finetuned: Finetuned) -> dict[str, Any]:
    """metadata.json as MONAI's schema wants it, with medssl's own facts under a key of theirs."""
    import monai
    import numpy

    image = {
        "type": "image",
        "format": "magnitude",
        "num_channels": 1,
        "spatial_shape": list(finetuned.patch),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": finetuned.task == "segmentation",
        "channel_def": {"0": "image"},
    }
    channels = {str(number): name for number, name in enumerate(finetuned.outputs)}
    pred = {
        "type": "image" if finetuned.task == "segmentation" else "probabilities",
        "format": finetuned.task,
        "num_channels": len(channels),
        "spatial_shape": list(finetuned.patch) if finetuned.task == "segmentation" else [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": finetuned.task == "segmentation",
        "channel_def": channels,
    }
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": "exported"},
        "monai_version": str(monai.__version__),
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": numpy.__version__,
        "required_packages_version": {"nibabel": "5.3", "fire": "0.7"},
        "name": f"{finetuned.task} by {finetuned.model.name}",
        "task": finetuned.task,
        "description": f"A {finetuned.model.name} fine-tuned by medssl {__version__}.",
        "authors": "not stated",
        "copyright": "not stated",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
        "medssl": finetuned.facts(),
    }


def _readme(finetuned: Finetuned, names: list[str], cpu_only: bool) -> str:
    facts = finetuned.facts()
    spacing = "each scan's own" if finetuned.spacing_mm is None else f"{facts['spacing_mm']} mm"
    answers = (
        "a mask for each scan, on its own grid"
        if finetuned.task == "segmentation"
        else "probabilities.csv, a line for each scan"
    )
    where = (
        "It runs on the CPU, also where there is a GPU: the code in models/model.ts makes tensors "
        "on the CPU by name and fails elsewhere. Leave `device` in the configs as it is."
        if cpu_only
        else "It runs on a GPU where there is one."
    )
    lines = [
        f"# {finetuned.task.capitalize()} by {finetuned.model.name}",
        "",
        f"Classes: {', '.join(finetuned.outputs)}. Spacing: {spacing}. Patch: "
        f"{' x '.join(map(str, finetuned.patch))} voxels. Not a medical device.",
        "",
        "    python -m monai.bundle run --config_file configs/inference.json "
        "--dataset_dir SCANS --output_dir OUT",
        "",
        f"Run it in this folder, with MONAI, nibabel and fire. SCANS holds NIfTI files; OUT gets "
        f"{answers}. {where}",
        "",
        *(
            f"- configs/{name}: scans in units {units}; {facts['normalisation'][units]}"
            for name, units in zip(names, finetuned.units, strict=True)
        ),
        "",
        "Scans are averaged where the training's spacing is coarser than theirs, and laid on its "
        "grid by linear interpolation, as `medssl predict` does. A sheared scan (a tilted gantry) "
        "is averaged by a window of the same width and another shape.",
        "",
        f"Weights: sha256 {facts['weights_sha256']}.",
    ]
    return "\n".join(lines) + "\n"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=4) + "\n")
