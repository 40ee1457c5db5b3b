"""One database for all tests of the tracker, for it takes seconds to create; each test has a study of its own."""

from pathlib import Path

import pytest

from bdray.tracking import Tracker


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "new folder" / "mlflow.db"
    Tracker(str(path), path.parent / "spool").close()
    return path
