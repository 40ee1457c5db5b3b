"""Several drivers that share one search through a database."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Driver, Output

pytestmark = pytest.mark.slow
PASSWORD = "pa5sw0rd"


def binaries() -> Path | None:
    """Where the programs of a PostgreSQL server are."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    return next(iter([*folders, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]), None)


@dataclass
class Postgres:
    """A server of our own, with a password."""

    folder: Path
    programs: Path
    user: str | None
    port: int

    @property
    def uri(self) -> str:
        return f"postgresql://bdray:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        words = ["-D", str(self.folder / "data"), "-k", str(self.folder), "-p", str(self.port), "-h", "127.0.0.1", "-F"]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [str(self.programs / "postgres"), *words], stdout=subprocess.DEVNULL, stderr=log, user=self.user
            )
        for _ in range(100):
            if self.is_there:
                return
            time.sleep(0.1)

    @property
    def is_there(self) -> bool:
        """Whether it takes connections."""
        asked = [str(self.programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, stdout=subprocess.DEVNULL).returncode == 0

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)  # which does not wait for clients to leave
        self._process.wait(30)

    def restart(self) -> None:
        """As for an update, while clients are at it."""
        self.stop()
        time.sleep(2)
        self.start()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'bdray[postgres]'")
    programs = binaries()
    if programs is None:
        pytest.skip("needs a PostgreSQL server: apt-get install postgresql")
    user = None
    if os.getuid() == 0:  # as which the server refuses to run
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("needs a user that the PostgreSQL server may run as")
    folder = Path(
        subprocess.run(["mktemp", "-d", "/tmp/bdray-pg-XXXXXX"], capture_output=True, text=True).stdout.strip()
    )
    (folder / "password").write_text(PASSWORD)
    if user:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = ["-A", "scram-sha-256", "-U", "bdray", f"--pwfile={folder / 'password'}", "--no-sync"]
    subprocess.run([programs / "initdb", "-D", folder / "data", *options], check=True, capture_output=True, user=user)
    server = Postgres(folder, programs, user, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.soak), "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'search.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.uri


def test_two_drivers_share_a_search(
    smoke: "Output", driver: Callable[..., "Driver"], tmp_path: Path, shared: str
) -> None:
    output = smoke.copy(tmp_path / "one", without="defend")
    # Outputs of their own, one store, one history; seeds apart so that each module's databases may be used twice.
    words = ["smoke/search", "defense.recipe.epochs=6", "search.num_points=6", f"search_storage={shared}", "cpus=1"]
    words += ["--store", str(output.store)]
    first = driver(output, *words)
    first.until(lambda: output.checkpoints("defend"))
    second_output = type(output)(tmp_path / "two")
    second = driver(second_output, *words)
    # One of them dies in the middle, and whoever comes next takes over its points.
    second.until(lambda: "started" in second.log.read_text())
    first.process.kill()
    first.process.wait()
    again = driver(output, *words)
    assert second.wait() == 0, second.errors
    assert again.wait() == 0, again.errors
    # Six points between them, each trained once; the last to finish has them all in its report.
    assert len(output.manifests("defend")) == 6
    rows = [[row for row in each.rows("smoke/search") if row["role"] == "trial"] for each in (output, second_output)]
    assert max(map(len, rows)) == 6
    last = driver(output, *words)
    assert last.wait() == 0, last.errors
    assert sum(row["role"] == "trial" for row in output.rows("smoke/search")) == 6
    assert "started" not in last.log.read_text()
    # The password is nowhere: not on the screen, not in a file.
    for path in (*output.folder.rglob("*"), *second_output.folder.rglob("*")):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path


def test_the_unit_contract_holds_on_postgres(postgres: Postgres, tmp_path: Path) -> None:
    from bdray import config
    from bdray.study.search.base import Home
    from bdray.study.search.optuna import OptunaSearch
    from tests.unit.study.searching import AXES, GOALS, in_another_process, metrics

    fields = {
        "type": "optuna",
        "num_points": 5,
        "constraints": [{"metric": "clean_accuracy_top1", "max_loss": 0.1}],
        "stopping": {"type": "median", "min_points": 1},
    }
    search = config.build(OptunaSearch, fields, "test")
    home = Home("unit", tmp_path, postgres.uri)

    def work() -> None:
        killed = search.open(AXES, GOALS, home)
        done, *_ = killed.ask(), killed.ask()
        assert done is not None
        killed.judge(done, {"epoch": 1.0, "attack_success_rate_top1": 0.1}, is_last=False)
        killed.tell(done, metrics(done), metrics(done))

    in_another_process(work)
    proposer = search.open(AXES, GOALS, home)
    found = [proposer.ask(), proposer.ask(), proposer.ask()]
    assert [proposal.number for proposal in found if proposal is not None] == [0, 1, 2]
    third = found[2]
    assert third is not None
    # A server that is restarted is waited for, between any two calls.
    down = threading.Thread(target=postgres.restart)
    down.start()
    while postgres.is_there:
        time.sleep(0.05)
    # Conditions, constraints, epochs: all of it is in the database.
    pruned = proposer.judge(third, {"epoch": 1.0, "attack_success_rate_top1": 0.9}, is_last=False)
    assert pruned is not None
    down.join()
    proposer.close()
    again = search.open(AXES, GOALS, home)
    replayed = list(iter(again.ask, None))
    assert [proposal.pruned for proposal in replayed if proposal.number == 2] == [pruned]
    assert len(replayed) == 5
