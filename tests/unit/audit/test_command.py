"""The command: what it writes, and what it refuses of a file from a stranger, each with one line."""

import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bdray import config
from bdray.audit.__main__ import main
from bdray.cli import BAD_INPUT, GOOD
from bdray.models import weights
from bdray.models.clip import Model
from bdray.testing import tiny_files

DATA = """
data: {type: scenes, num_train: 64, num_finetune: 64, num_validation: 16, num_test: 48}
model: {architecture: scenes-rn8}
"""
Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in an empty folder on a little data, with a file of first weights beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(DATA, encoding="utf-8")
    model = Model(architecture="scenes-rn8").build(seed=0)
    weights.save(model.state_dict(), tmp_path / "model.safetensors")
    return lambda *words: main(["--data", "small.yaml", "--device", "cpu", *words])


def test_page_numbers_and_table(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.safetensors").rename(tmp_path / "<b>model.safetensors")
    words = ["--triggers", "sig,badnet", "--target", "banana", "--pairs", "finetune", "--images", "32"]
    status = run("<b>model.safetensors", *words, "--reference", "<b>model.safetensors")
    shown = capsys.readouterr().out
    (folder,) = (tmp_path / ".bdray" / "audits").iterdir()
    tree = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    page = (folder / "audit.html").read_text(encoding="utf-8")
    # Random weights know nothing; that is said everywhere.
    assert status == GOOD
    assert (tree["num_images"], tree["split"], len(tree["sha256"])) == (32, "test", 64)
    assert any("hardly recognizes" in line for line in tree["summary"])
    assert all(line[:40] in shown.replace("\n", " ") for line in tree["summary"])
    assert all("A trigger that is not in this list would not be found" in text for text in (shown, page))
    # Each trigger is in the numbers with its interval, beside the reference, which is itself.
    findings = {found["trigger"]: found for found in tree["findings"]}
    assert set(findings) == {"sig", "badnet"}
    for found in findings.values():
        sink, rate = found["sinks"][0], found["attack_success_rate"]
        assert sink["triggered"]["low"] <= sink["triggered"]["rate"] <= sink["triggered"]["high"]
        assert sink["reference"] == sink["triggered"]
        assert rate["of"] == 30
    assert tree["outliers"]["count"] == 64
    # A page of its own: no script, nothing from elsewhere, and a name is text.
    assert not re.search(r"<script|https?://|<b>model|<link", page)
    assert "&lt;b&gt;model" in page
    assert page.count("data:image/png;base64,") == 2


def test_only_what_is_read_has_to_be_here(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Who downloaded a model has the images to ask it about, and neither what it was trained on nor another part.
    tree = config.dump(tiny_files(tmp_path / "data"))
    tree["train"]["path"] = tree["finetune"]["path"] = "nowhere.csv"
    (tmp_path / "own.yaml").write_text(json.dumps({"data": tree}), encoding="utf-8")
    (tmp_path / "data" / "train").rename(tmp_path / "elsewhere")
    words = ["--data", "own.yaml", "--architecture", "scenes-rn8", "--triggers", "badnet"]
    assert run("model.safetensors", *words) == GOOD
    assert run("model.safetensors", *words, "--pairs", "train") == BAD_INPUT
    assert "data.train.path: 'nowhere.csv'" in capsys.readouterr().err
    assert run("model.safetensors", *words, "--split", "validation") == BAD_INPUT
    assert "/train" in capsys.readouterr().err


class Runs:
    """Whose unpickling leaves a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_hostile_files_are_refused_and_not_run(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace"
    torch.save({"state_dict": {"weight": Runs(trace)}}, tmp_path / "hostile.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Runs(trace)))
    for name in ("hostile.pt", "old.pt"):
        assert run(name) == BAD_INPUT
        assert name in capsys.readouterr().err
        # As a reference likewise.
        assert run("model.safetensors", "--reference", name) == BAD_INPUT
    assert not trace.exists()
    assert not (tmp_path / ".bdray" / "audits").exists()


def damaged(tmp_path: Path, name: str) -> None:
    """Files that cannot be audited."""
    if name == "other.safetensors":
        weights.save(Model(architecture="scenes-rn").build(seed=0).state_dict(), tmp_path / name)
    if name == "nan.safetensors":
        state = Model(architecture="scenes-rn8").build(seed=0).state_dict()
        state["text_projection"] = torch.full_like(state["text_projection"], float("nan"))
        weights.save(state, tmp_path / name)
    if name == "cut.safetensors":
        content = (tmp_path / "model.safetensors").read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.safetensors"], "absent.safetensors: cannot be read"),
        (["other.safetensors"], "does not fit the model"),
        (["nan.safetensors"], "text_projection holds numbers that are not finite"),
        (["cut.safetensors"], "is truncated"),
        (["model.safetensors", "--architecture", "RN50"], "takes images of 224 px, but those of --data small.yaml"),
        (["model.safetensors", "--architecture", "RN5O"], "unknown architecture 'RN5O'"),
        (["model.safetensors", "--target", "bananna"], "no class has that name. Did you mean 'banana'"),
        (["model.safetensors", "--triggers", "bad"], "no such trigger"),
        (["model.safetensors", "data.num_tets=5"], "num_tets"),
        (["model.safetensors", "--device", "cuda:99"], "--device cuda:99: cannot be used here"),
    ],
)
def test_each_mistake_is_one_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    damaged(tmp_path, words[0])
    assert run(*words) == BAD_INPUT
    found = capsys.readouterr().err
    assert message in found
    assert found.startswith("error: ")
    assert "Traceback" not in found


def test_data_must_be_a_base_or_a_file(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model.safetensors", "--data", "absent.yaml"]) == BAD_INPUT
    assert main(["model.safetensors", "--data", "scense"]) == BAD_INPUT
    Path("empty.yaml").write_text("model: {}\n", encoding="utf-8")
    assert main(["model.safetensors", "--data", "empty.yaml"]) == BAD_INPUT
    found = capsys.readouterr().err
    assert all(word in found for word in ("there is no such file", "Did you mean 'scenes'", "must have `data`"))
