"""For all tests: one thread (the machine is shared, and sums keep their order), and one cache of built-in data."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, which tests do after this file

import pytest


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for prepared data."""
    return tmp_path_factory.mktemp("cache")
