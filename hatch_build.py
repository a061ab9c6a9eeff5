"""Compiles the loops of `medssl/kernels` when a wheel is made or the checkout is installed.

Where there is no compiler the package goes on without them: array code does the same, slower.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileLoops(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        kernels = Path(self.root, "medssl", "kernels")
        compiling = runpy.run_path(str(kernels / "build.py"))
        try:
            libraries: list[Path] = compiling["build"](kernels)
        except compiling["BuildError"] as error:
            self.app.display_warning(f"medssl works without compiled loops, slower: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"
        build_data["artifacts"] += [str(path.relative_to(self.root)) for path in libraries]


def _platform() -> str:
    import sysconfig

    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
