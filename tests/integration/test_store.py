"""What happens to studies when their store fails, is slow, is damaged, or is somebody else's, too."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Driver, Output, Study

pytestmark = pytest.mark.slow
STUDY = "smoke/lambda2"


def numbers(output: "Output") -> list[list[str]]:
    """What a study found: all but times and places."""
    columns = ("role", "key", "clean_accuracy_top1", "attack_success_rate_top1", "embedding_distance")
    return sorted([row[name] for name in columns] for row in output.rows(STUDY))


def files(output: "Output") -> dict[str, Any]:
    """Hashes of all models, by their keys."""
    import json

    found = {}
    for path in output.store.glob("[pvd]*/*/manifest.json"):
        if path.parts[-3] != "damaged":
            found["/".join(path.parts[-3:-1])] = json.loads(path.read_text())["files"]["model.safetensors"]["sha256"]
    return found


def test_a_damaged_victim_is_found_and_trained_anew(
    smoke: "Output", run_study: "Study", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    (victim,) = output.store.glob("victim/*/model-*")
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    capsys.readouterr()
    assert run_study(output, STUDY) == 0
    # One flipped bit: named, set aside, computed anew, with the same results as if nothing had been.
    shown = " ".join(capsys.readouterr().out.split())
    assert f"damaged in the store, set aside and computed anew: victim/{victim.parent.name}/{victim.name}" in shown
    assert numbers(output) == numbers(smoke)
    assert files(output) == files(smoke)


def test_a_study_on_an_object_store_that_fails_and_is_slow(
    smoke: "Output", driver: Callable[..., "Driver"], tmp_path: Path
) -> None:
    pytest.importorskip("moto", reason="needs an S3 server: pip install 'moto[s3]' flask flask-cors")
    from bdray.pipeline.store import Store
    from bdray.store.entries import read
    from tests.object_store import ENVIRONMENT, object_store

    output = type(smoke)(tmp_path / "output")
    with object_store() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        server.faults[:] = [0.0, 503, 500, 0.2, 0.0, 503, 503] * 30
        running = driver(output, STUDY, "--store", server.uri("team"), **ENVIRONMENT)
        assert running.wait() == 0, running.errors
        assert server.faults == []
        contents = read(Store(server.uri("team"), tmp_path / "cache"))
    # The same numbers and the same keys as on a disk.
    assert numbers(output) == numbers(smoke)
    assert {entry.folder for entry in contents.entries} == smoke.manifests().keys()
    assert not [entry for entry in contents.entries if entry.strays or entry.damage]
    # The states of trainings, which another machine would have gone on with, are gone.
    assert contents.others == ()
    assert any("/unfinished/" in request for request in server.requests)


@pytest.mark.soak
def test_two_drivers_run_one_study_at_once(
    smoke: "Output", driver: Callable[..., "Driver"], tmp_path: Path, reference: "Output", one_trial: list[str]
) -> None:
    first = smoke.copy(tmp_path / "first", without="defend")
    second = type(smoke)(tmp_path / "second")
    words = [*one_trial, "cpus=1", "--store", str(first.store)]
    one = driver(first, *words)
    two = driver(second, *words)
    assert one.wait() == 0, one.errors
    assert two.wait() == 0, two.errors
    # Both end, with one result between them, which is that of a driver that was alone.
    assert numbers(first) == numbers(second) == numbers(reference)
    assert files(first) == files(reference)
    assert not list((first.store / "unfinished").glob("*/*"))
