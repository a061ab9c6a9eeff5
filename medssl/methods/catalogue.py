"""The pretraining methods there are."""

from __future__ import annotations

from medssl.methods.base import Method
from medssl.methods.mae import MAE
from medssl.methods.rotation import Rotation
from medssl.methods.simclr import SimCLR
from medssl.methods.simmim import SimMIM

METHODS: dict[str, type[Method]] = {
    "simclr": SimCLR,
    "mae": MAE,
    "simmim": SimMIM,
    "rotation": Rotation,
}
