"""Studies on several nodes, which come, grow in number, leave with a warning, and die. The results stay the same."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.ray_nodes import Head, Node, command, ray_head

if TYPE_CHECKING:
    from tests.integration.conftest import Driver, Output

Start = Callable[..., "Driver"]
Study = Callable[..., int]
pytestmark = pytest.mark.slow
pytest.importorskip("aiohttp_cors", reason="needs a cluster's head: pip install 'ray[default]'")

STUDY = "smoke/lambda2"
ROOM = {"CPU": 1, "object_store_memory": 100_000_000}
TYPES = {"small": {"resources": ROOM, "node_config": {}, "min_workers": 0, "max_workers": 2}}


LONG = [STUDY, "axes={defense.in_modal_weight: {values: [1]}}", "compare=[]", "defense.recipe.epochs=40"]
"""One trial, which takes longer than a node to leave."""


def numbers(output: "Output") -> list[list[str]]:
    """What a study found: all but times and places."""
    columns = ("role", "key", "clean_accuracy_top1", "attack_success_rate_top1", "embedding_distance")
    return sorted([row[name] for name in columns] for row in output.rows(STUDY))


@pytest.fixture(scope="module")
def head(environment: dict[str, str]) -> Iterator[Head]:
    """A head that only plans, as those of the cluster files."""
    with ray_head(environment, cpus=0) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(smoke: "Output", run_study: Study, tmp_path_factory: pytest.TempPathFactory) -> "Output":
    """``LONG`` as it ends when no node is lost."""
    output = smoke.copy(tmp_path_factory.mktemp("undisturbed") / "output", without="defend")
    assert run_study(output, *LONG) == 0
    return output


@pytest.fixture
def study(head: Head, join: Callable[..., Node], driver: Start) -> Start:
    """Starts a study on the cluster, from a process that has its token. It ends before the nodes do."""
    return lambda output, *words: driver(output, *words, "--address", head.gcs, **head.environment)


@pytest.fixture
def join(head: Head) -> Iterator[Callable[..., Node]]:
    """Lets machines join for the length of a test."""
    yield head.join
    for node in head.nodes:
        node.close()
    head.nodes.clear()


def test_a_node_that_joins_is_used_at_once(
    smoke: "Output", study: Start, join: Callable[..., Node], tmp_path: Path
) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    join(cpus=1)
    running = study(output, STUDY, "defense.recipe.epochs=1000")
    running.until(lambda: output.checkpoints("defend"))
    assert running.log.read_text().count("started") == 1
    second = join(cpus=1)
    # The second trial does not wait for the end of the first one, and is where there is room.
    running.until(lambda: second.trials)
    running.until(lambda: running.log.read_text().count("started") == 2)
    assert not output.manifests("defend")


@pytest.mark.parametrize("how", ["dies", pytest.param("leaves", marks=pytest.mark.soak)])
def test_a_node_is_lost_in_the_middle_of_an_epoch(
    undisturbed: "Output", study: Start, join: Callable[..., Node], tmp_path: Path, how: str
) -> None:
    output = undisturbed.copy(tmp_path / "output", without="defend")
    nodes = [join(cpus=1, RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="0.2") for _ in range(2)]
    running = study(output, *LONG)
    running.until(lambda: output.checkpoints("defend"))
    (lost,) = [node for node in nodes if node.trials]
    (trial,) = lost.trials
    # As a machine that loses its power, or as a spot machine, which is told before.
    lost.kill() if how == "dies" else lost.warn()
    assert running.wait() == 0, running.errors
    lost.process.wait(30)
    # The other node went on from the last checkpoint, and came to the same model.
    assert not output.manifest("defend")["worker"].endswith(f":{trial}")
    assert numbers(output) == numbers(undisturbed)
    assert output.manifest("defend")["files"] == undisturbed.manifest("defend")["files"]
    log = running.log.read_text()
    assert log.count("epoch 1/40") <= 1
    assert log.count("epoch 40/40") == 1


@pytest.mark.soak
def test_workers_on_two_nodes_lose_one_of_them(
    smoke: "Output", run_study: Study, study: Start, join: Callable[..., Node], tmp_path: Path
) -> None:
    words = [STUDY, "axes={defense.in_modal_weight: {values: [1]}}", "compare=[]", "defense.recipe.epochs=8"]
    words += ["training.num_workers=2", "training.across_nodes=true"]
    output = smoke.copy(tmp_path / "output", without="defend")
    nodes = [join(cpus=2) for _ in range(2)]
    running = study(output, *words, "training.cpus_per_worker=1.5")
    running.until(lambda: output.checkpoints("defend"))
    assert all(node.trials for node in nodes)
    # The one that also has what waits for both: the harder loss.
    (lost,) = [node for node in nodes if any(command(pid).startswith("ray::ImplicitFunc") for pid in node.trials)]
    lost.kill()
    join(cpus=2)
    # The group waits for another node, and both workers go on from the checkpoint.
    assert running.wait() == 0, running.errors
    undisturbed = smoke.copy(tmp_path / "undisturbed", without="defend")
    assert run_study(undisturbed, *words) == 0
    assert output.manifest("defend")["files"] == undisturbed.manifest("defend")["files"]
    assert numbers(output) == numbers(undisturbed)


def test_an_autoscaler_adds_the_nodes_that_a_study_asks_for(
    smoke: "Output", environment: dict[str, str], driver: Start, tmp_path: Path
) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    with ray_head(environment, cpus=0, autoscaling=TYPES) as head:
        to_cluster = ["--address", head.gcs]
        refused = driver(output, STUDY, *to_cluster, **head.environment)
        # A cluster without room is a mistake, unless one says that it grows.
        assert refused.wait() == 2
        assert "If an autoscaler adds the nodes, say how many trials to ask for: slots=NUMBER." in refused.errors
        running = driver(output, STUDY, "defense.recipe.epochs=1000", "slots=2", *to_cluster, **head.environment)
        # From nothing but a head to both trials at the same time, each on a node of one CPU.
        running.until(lambda: running.log.read_text().count("started") == 2)
        assert not output.manifests("defend")
        running.process.send_signal(signal.SIGINT)
        assert running.wait() == 130
        # What nobody needs any more goes.
        head.until(1)
