"""The pretraining methods there are."""

from __future__ import annotations

from medssl.methods.base import Method
from medssl.methods.config import MethodConfig, MultitaskConfig
from medssl.methods.distill import Distill
from medssl.methods.hybrid import Hybrid
from medssl.methods.mae import MAE
from medssl.methods.moco import MoCo
from medssl.methods.multitask import Multitask
from medssl.methods.rotation import Rotation
from medssl.methods.simclr import SimCLR
from medssl.methods.simmim import SimMIM

METHODS: dict[str, type[Method]] = {
    "distill": Distill,
    "hybrid": Hybrid,
    "mae": MAE,
    "moco": MoCo,
    "multitask": Multitask,
    "rotation": Rotation,
    "simclr": SimCLR,
    "simmim": SimMIM,
}


def augments_intensity(config: MethodConfig) -> bool:
    """Whether a method, or any of several at once, looks at patches of augmented intensities."""
    if isinstance(config, MultitaskConfig):
        return any(augments_intensity(task.method) for task in config.tasks)
    return METHODS[config.name].intensity
