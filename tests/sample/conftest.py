"""One small sample archive for all tests of the sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from medssl.sample.sample import SampleResult, write_sample


@pytest.fixture(scope="session")
def small_sample(tmp_path_factory: pytest.TempPathFactory) -> SampleResult:
    """Six patients, the fewest there can be; not to be changed."""
    out: Path = tmp_path_factory.mktemp("sample")
    return write_sample(out, patients=6, seed=3)
