"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples at every run on a server; new ones on a developer's machine.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("local", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans beside the checkout; a test that needs it skips where it is not."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real scans are not at {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _tracking_apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """MLflow's database goes to a temporary folder, one for each test process."""
    patch = pytest.MonkeyPatch()
    database = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
