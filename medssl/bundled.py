"""The example configurations and pipelines, in a checkout or in an installed package."""

from __future__ import annotations

from pathlib import Path

from medssl.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent


def bundled(name: str) -> Path:
    """Path of a file under configs/ or pipelines/, such as `configs/pretrain/smoke.yaml`.

    Raises:
        ConfigError: the installation lacks it.
    """
    for root in (_PACKAGE.parent, _PACKAGE / "_bundled"):
        if (root / name).is_file():
            return root / name
    raise ConfigError(f"{name} is not part of this installation; install medssl again")
