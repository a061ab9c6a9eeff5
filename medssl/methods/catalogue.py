"""The pretraining methods there are."""

from __future__ import annotations

from medssl.methods.base import Method
from medssl.methods.distill import Distill
from medssl.methods.hybrid import Hybrid
from medssl.methods.mae import MAE
from medssl.methods.moco import MoCo
from medssl.methods.rotation import Rotation
from medssl.methods.simclr import SimCLR
from medssl.methods.simmim import SimMIM

METHODS: dict[str, type[Method]] = {
    "distill": Distill,
    "hybrid": Hybrid,
    "mae": MAE,
    "moco": MoCo,
    "rotation": Rotation,
    "simclr": SimCLR,
    "simmim": SimMIM,
}
