"""Studies on several nodes, which come, leave with a warning, and die. The results stay the same."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.ray_nodes import Head, Node, ray_head

if TYPE_CHECKING:
    from tests.integration.conftest import Driver, Output

Start = Callable[..., "Driver"]
Study = Callable[..., int]
pytestmark = pytest.mark.slow
pytest.importorskip("aiohttp_cors", reason="needs a cluster's head: pip install 'ray[default]'")

STUDY = "smoke/lambda2"


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
def study(head: Head, driver: Start) -> Start:
    """Starts a study on the cluster, from a process that has its token."""
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


@pytest.mark.parametrize("how", ["dies", "leaves"])
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
