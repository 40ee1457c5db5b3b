"""The JSON schemas beside the studies."""

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_schemas_are_what_the_classes_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("export_schema", ROOT / "scripts" / "export_schema.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    shutil.copytree(ROOT / "studies" / "base", tmp_path / "base")
    monkeypatch.setattr(script, "STUDIES", tmp_path)
    script.main()
    # A field that was added without `make schema` would be marked wrong by editors.
    for name in ("schema.json", "base/schema.json"):
        assert (tmp_path / name).read_text() == (ROOT / "studies" / name).read_text()
