"""Compiling the loops: every C file of this folder into a shared library beside them.

The library is plain C that ctypes loads, so that one build serves every Python version. On x86 it
is built for three generations of processors, and the best that runs is taken when it is loaded: a
package can be built on one machine and used on another. It is made when the package is built or
installed (`hatch_build.py`), or by hand:

    python -m medssl.kernels.build

Names carry a hash of the sources, so that a library is never used with sources that it was not made
from. This module imports nothing but the standard library: a build runs without dependencies.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent

LEVELS = ("", "haswell", "skylake-avx512")
"""Instruction sets, from what every processor has up (see processor.c)."""

# Not -ffast-math: a library linked with it makes the whole process flush subnormal numbers to zero.
_MATH = ["-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]
_FLAGS = ["-O3", *_MATH, "-freciprocal-math", "-fopenmp-simd", "-std=gnu11", "-Wall"]
_LIBRARY = ["-shared", "-fPIC", "-fvisibility=hidden"]


class BuildError(RuntimeError):
    """There is no C compiler, or it refused the sources."""


def library_paths(folder: Path = HERE) -> list[Path]:
    """Where the libraries of the sources as they are now lie, or would lie, by level."""
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    for source in sorted([*folder.glob("*.c"), *folder.glob("*.h")]):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    machine = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    levels = LEVELS if platform.machine().lower() in ("x86_64", "amd64") else LEVELS[:1]
    stem = f"_loops_{machine}_{digest.hexdigest()[:12]}"
    return [folder / f"{stem}_{level or 'base'}.so" for level in levels]


def build(folder: Path = HERE) -> list[Path]:
    """Compile the sources, unless that was done; libraries of other sources are deleted.

    Raises:
        BuildError: no compiler was found (`CC` names one), or it failed; its words are in the
            message.
    """
    targets = library_paths(folder)
    for target, level in zip(targets, LEVELS, strict=False):
        if not target.exists():
            _compile(folder, target, level)
    for old in folder.glob("_loops_*.so"):
        if old not in targets:
            old.unlink(missing_ok=True)
    return targets


def _compile(folder: Path, target: Path, level: str) -> None:
    compiler = _compiler()
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    sources = [str(source) for source in sorted(folder.glob("*.c"))]
    flags = [*_FLAGS, *([f"-march={level}"] if level else []), *_LIBRARY]
    command = [*compiler, *flags, "-o", str(partial), *sources, "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        partial.unlink(missing_ok=True)
        raise BuildError(f"{shlex.join(compiler)} failed:\n{done.stderr.strip()[-2000:]}")
    os.replace(partial, target)


def _compiler() -> list[str]:
    asked = os.environ.get("CC")
    if asked:
        return shlex.split(asked)
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise BuildError("there is no C compiler (cc, gcc, clang); install one, or set CC to its name")


if __name__ == "__main__":
    try:
        for path in build():
            print(path)
    except BuildError as error:
        sys.exit(f"the loops were not compiled: {error}")
