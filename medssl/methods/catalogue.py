"""The pretraining methods there are."""

from __future__ import annotations

from medssl.methods.base import Method
from medssl.methods.hybrid import Hybrid
from medssl.methods.mae import MAE
from medssl.methods.moco import MoCo
from medssl.methods.simclr import SimCLR

METHODS: dict[str, type[Method]] = {
    "simclr": SimCLR,
    "moco": MoCo,
    "mae": MAE,
    "hybrid": Hybrid,
}
