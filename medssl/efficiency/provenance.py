"""Which code, packages and machine a result comes from."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path

import medssl
from medssl.efficiency.canonical import sha256_json


@cache
def provenance() -> dict[str, str]:
    """Tags of a run: git_commit and git_dirty of medssl's checkout, env_sha256, python.

    env_sha256 is the hash of the sorted list of installed packages with their versions. The commit
    is "none" where medssl was installed without its checkout.
    """
    packages = sorted(
        f"{found.metadata['Name']}=={found.version}" for found in importlib.metadata.distributions()
    )
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "git_commit": _git("rev-parse", "HEAD") or "none",
        "git_dirty": "unknown" if changes is None else str(bool(changes)).lower(),
        "env_sha256": sha256_json(packages),
        "python": platform.python_version(),
    }


def machine() -> dict[str, str | int | bool]:
    """device, torch, threads and deterministic: whether the same machine gives the same bits."""
    import torch

    on_gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "deterministic": not on_gpu or torch.are_deterministic_algorithms_enabled(),
    }


def _git(*arguments: str) -> str | None:
    folder = Path(medssl.__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
