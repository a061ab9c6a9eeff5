"""Tests of how the loops are compiled and found."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medssl import kernels
from medssl.kernels.build import HERE, BuildError, build, library_paths


def _sources(folder: Path) -> Path:
    copied = folder / "kernels"
    copied.mkdir()
    for source in [*HERE.glob("*.c"), *HERE.glob("*.h")]:
        shutil.copy(source, copied)
    return copied


@pytest.mark.skipif(kernels.library() is None, reason="the loops were not compiled here")
def test_a_changed_source_makes_another_library_and_the_old_one_goes(tmp_path: Path) -> None:
    folder = _sources(tmp_path)
    first = build(folder)
    assert all(path.exists() for path in first)
    with (folder / "loops.h").open("a") as text:
        text.write("/* changed */\n")
    second = build(folder)
    assert set(first).isdisjoint(second)
    assert sorted(folder.glob("_loops_*.so")) == sorted(second)
    assert ctypes.CDLL(str(second[0])).medssl_level() >= 0


def test_without_a_compiler_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="install one, or set CC"):
        build(_sources(tmp_path))


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = tmp_path / "failing"
    failing.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no such flag')\n")
    failing.chmod(0o755)
    monkeypatch.setenv("CC", str(failing))
    folder = _sources(tmp_path)
    with pytest.raises(BuildError, match="no such flag"):
        build(folder)
    assert not list(folder.glob("*.so*")) + list(folder.glob(".*partial"))


def test_disabled_is_array_code_alone() -> None:
    before = kernels.library()
    with kernels.disabled():
        assert kernels.library() is None
    assert kernels.library() is before


def test_naming_the_libraries_needs_no_dependency() -> None:
    code = f"import runpy; runpy.run_path({str(HERE / 'build.py')!r})"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
    assert library_paths()[0].parent == HERE


def test_loading_the_loops_leaves_subnormal_numbers_alone() -> None:
    """What -ffast-math would take from the whole process."""
    code = (
        "from medssl import kernels; kernels.library(); import numpy as np; "
        "assert np.float64(2.0**-1060) * np.float64(0.5) > 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
