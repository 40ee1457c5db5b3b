"""Mistakes of every kind: one clear message, status 2, no traceback, and nothing computed."""

import pickle
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bdray.study.__main__ import main

ROOT = Path(__file__).parents[2]
SMOKE = "smoke/lambda2"
FROM_WEIGHTS = [SMOKE, "pretrain=null"]

# Words of the command line, with {tmp} for a scratch folder; what the message must hold.
MISTAKES: dict[str, tuple[list[str], list[str]]] = {
    "mistyped field": (
        [SMOKE, "defense.in_modal_wieght=2"],
        ["command line: defense.in_modal_wieght: unknown field", "Did you mean 'in_modal_weight'"],
    ),
    "mistyped study": (["smoke/lamda2"], ["study 'smoke/lamda2': there is no such study", "'smoke/lambda2'"]),
    "mistyped base": ([SMOKE, "--base", "scene"], ["base 'scene': there is no such base", "'scenes'"]),
    "negative weight": (
        [SMOKE, "axes={defense.in_modal_weight: {values: [-1]}}", "compare=[]"],
        ["command line: defense.in_modal_weight: -1 is not allowed", "at least 0"],
    ),
    "negative end of a range": (
        ["smoke/search", "axes={defense.in_modal_weight: {low: -1, log: false}}"],
        ["command line: defense.in_modal_weight: -1", "at least 0"],
    ),
    "unknown type": (
        [SMOKE, "attack.trigger={type: badnett}"],
        ["attack.trigger.type: unknown type 'badnett'", "Did you mean 'badnet'"],
    ),
    "a word for a number": ([SMOKE, "defense.recipe.epochs=many"], ["defense.recipe.epochs: 'many' is not allowed"]),
    "no equals sign": ([SMOKE, "defense.recipe.epochs"], ["'defense.recipe.epochs'", "FIELD=VALUE"]),
    "no YAML": ([SMOKE, "seeds=[0"], ["override 'seeds=[0'", "not YAML"]),
    "unknown first name": ([SMOKE, "defens.recipe.epochs=1"], ["override 'defens'", "Did you mean 'defense'"]),
    "too many samples": ([SMOKE, "victim.num_samples=513"], ["victim.num_samples: 513", "the train split has 512"]),
    "too many poisons": ([SMOKE, "attack.num_poisoned=257"], ["attack.num_poisoned: 257", "at most 256"]),
    "too large a batch": ([SMOKE, "defense.recipe.batch_size=129"], ["defense.recipe.batch_size", "129", "128"]),
    "no equal shares": ([SMOKE, "training.num_workers=3"], ["batch_size", "3 workers"]),
    "half a GPU for each of two": (
        [SMOKE, "training.num_workers=2", "training.gpus_per_worker=0.5"],
        ["training.gpus_per_worker", "training.num_workers=1"],
    ),
    "unknown class": ([SMOKE, "attack.target=bananna"], ["attack.target", "'bananna'", "banana"]),
    "unknown architecture": ([SMOKE, "model.architecture=scenes-nr"], ["model.architecture", "'scenes-rn'"]),
    "base and weights": ([SMOKE, "model.weights={tmp}/good"], ["pretrain: must be null", "model.weights"]),
    "no weights": ([*FROM_WEIGHTS, "model.weights={tmp}/none"], ["/none: cannot be read", "No such file", "Give"]),
    "a folder": ([*FROM_WEIGHTS, "model.weights={tmp}"], ["cannot be read", "Is a directory"]),
    "nearly empty weights": ([*FROM_WEIGHTS, "model.weights={tmp}/empty"], ["/empty: holds only 3 bytes", "Copy it"]),
    "truncated weights": ([*FROM_WEIGHTS, "model.weights={tmp}/short"], ["/short: is truncated", "Copy it again"]),
    "truncated torch file": (
        [*FROM_WEIGHTS, "model.weights={tmp}/short.pt"],
        ["/short.pt: the torch file is truncated"],
    ),
    "pickled weights": ([*FROM_WEIGHTS, "model.weights={tmp}/old.pkl"], ["/old.pkl", "pickle", "convert it"]),
    "store below a file": ([SMOKE, "--store", "{tmp}/good/store"], ["/good/store': cannot be written", "--store"]),
    "store of an unknown kind": ([SMOKE, "--store", "s4://x"], ["store 's4://x'", "s3://bucket/path"]),
    "output below a file": ([SMOKE, "output={tmp}/good/output"], ["/good/output': cannot be written", "--output"]),
    "no address": ([SMOKE, "--address", "nonsense"], ["address: 'nonsense'", "auto, HOST:PORT"]),
    "too many scenes": ([SMOKE, "data.num_train=99999999999999999999"], ["data.num_train: 99999999999999999999"]),
    "tracker of an unknown kind": ([SMOKE, "--tracking-uri", "postgresql://x/y"], ["tracking URI", "not supported"]),
    "tracker that is no database": ([SMOKE, "--tracking-uri", "{tmp}/good.db"], ["/good.db", "Name another file"]),
    "tracker that is away": (
        [SMOKE, "--tracking-uri", "http://127.0.0.1:1"],
        ["http://127.0.0.1:1", "Connection refused", "Check that this is the address"],
    ),
}


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Files of weights of all kinds."""
    head = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    whole = struct.pack("<Q", len(head)) + head + bytes(8)
    (tmp_path / "good").write_bytes(whole)
    (tmp_path / "short").write_bytes(whole[:-1])
    (tmp_path / "empty").write_bytes(b"abc")
    (tmp_path / "short.pt").write_bytes(b"PK\x03\x04" + bytes(100))
    (tmp_path / "old.pkl").write_bytes(pickle.dumps({"state_dict": {"a": 1.0}}))
    (tmp_path / "good.db").write_bytes(b"no database " * 100)
    return tmp_path


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_gives_one_clear_message(
    words: str, scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given, parts = MISTAKES[words]
    arguments = [word.replace("{tmp}", str(scratch)) for word in given]
    monkeypatch.chdir(ROOT)
    assert main([*arguments, "--output", str(scratch / "output")]) == 2
    err = capsys.readouterr().err
    # What is wrong, where, by which rule, and what to do: on standard error, in so many lines as there are mistakes.
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert [part for part in parts if part not in err] == []
    assert "Traceback" not in err
    # Nothing was computed.
    assert list(scratch.rglob("manifest.json")) == []


@pytest.mark.parametrize(
    "words", ["store below a file", "output below a file", "tracker of an unknown kind", "too many scenes"]
)
def test_a_dry_run_tells_the_same_and_leaves_nothing(
    words: str, scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given, parts = MISTAKES[words]
    before = sorted(scratch.rglob("*"))
    arguments = [word.replace("{tmp}", str(scratch)) for word in given]
    monkeypatch.chdir(ROOT)
    assert main([*arguments, "--dry-run", "--output", str(scratch / "output")]) == 2
    err = capsys.readouterr().err
    assert [part for part in parts if part not in err] == []
    # Not even an empty folder.
    assert sorted(scratch.rglob("*")) == before


def test_a_key_given_twice_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "studies" / "base").mkdir(parents=True)
    (tmp_path / "studies" / "twice.yaml").write_text("title: T\nbase: b\naxes: {}\nseeds: [0]\nseeds: [1]\n")
    monkeypatch.chdir(tmp_path)
    # YAML's own rule would be to take the last one and say nothing.
    assert main(["twice"]) == 2
    err = capsys.readouterr().err
    assert "twice.yaml: cannot be read as YAML" in err
    assert "duplicate key seeds" in err


def test_weights_that_do_not_fit_are_refused(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A sound file of another model: names and shapes in its header tell before any worker starts.
    monkeypatch.chdir(ROOT)
    assert main([*FROM_WEIGHTS, f"model.weights={scratch}/good", "--output", str(scratch / "output")]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert f"error: {scratch}/good: does not fit the model: missing" in shown
    assert shown.endswith("Check model.architecture.")
    assert list(scratch.rglob("manifest.json")) == []


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_no_cluster_at_the_address(address: str, environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bdray.study", SMOKE, "--address", address, "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    # Told within seconds, where Ray alone would knock for minutes.
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: --address {address}: no Ray cluster answers there (")
    assert line.endswith("Start one with `ray start --head`, or leave --address out for a local one.")
    assert list(tmp_path.rglob("manifest.json")) == []


@pytest.mark.slow
def test_a_trial_that_fits_nowhere(environment: dict[str, str], tmp_path: Path) -> None:
    words = [SMOKE, "cpus=1", "training.cpus_per_worker=64", "--output", str(tmp_path)]
    command = [sys.executable, "-m", "bdray.study", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    # Rather than to wait forever for a machine that large.
    assert done.returncode == 2
    assert "one trial needs 1 x (64 CPU, 0 GPU), but this machine has 1 CPU and 0 GPU" in done.stderr
    assert "Traceback" not in done.stderr
