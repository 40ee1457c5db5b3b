"""What travels to a cluster with a study, what its job is told, and what is refused before anything travels."""

import shlex
import subprocess
from pathlib import Path

import pytest

from bdray import cli
from bdray.exceptions import ClusterError
from bdray.study import parcel as parcel_module
from bdray.study.__main__ import main
from bdray.study.parcel import parcel
from bdray.study.reach import check_reachable, check_secrets
from bdray.study.runtime import Runtime, is_job_server
from bdray.study.spec import LoadedStudy, load
from bdray.study.submit import entrypoint

SERVER = "http://ray-head:8265"
PLACES = {"store": "s3://bucket/bdray", "tracking_uri": "http://mlflow:5000"}


def test_the_parcel_has_the_package_and_the_study(grid: LoadedStudy) -> None:
    with parcel(grid) as folder:
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        size = sum((folder / name).stat().st_size for name in found)
        commit = (folder / "bdray-commit.txt").read_text()
    # Code with what it reads, this study, all bases; no other study, no byte code, no results.
    assert {"bdray/study/__main__.py", "studies/some/grid.yaml", "studies/base/tiny.yaml"} <= found
    assert any(name.endswith(".json") for name in found)
    assert not [name for name in found if "__pycache__" in name or "some/search" in name or ".bdray" in name]
    assert size < parcel_module.MAX_BYTES / 2
    assert commit
    assert not folder.exists()


def test_code_from_a_parcel_runs_and_knows_its_commit(grid: LoadedStudy) -> None:
    import sys

    with parcel(grid) as folder:
        code = "import bdray; from bdray.pipeline.provenance import commit; print(bdray.__file__, commit())"
        command = [sys.executable, "-c", code]
        where, commit = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.split()
        assert where == str(folder / "bdray" / "__init__.py")
        assert commit == (folder / "bdray-commit.txt").read_text()
        listed = subprocess.run(
            [sys.executable, "-m", "bdray.study", "--list"], cwd=folder, capture_output=True, text=True, check=True
        )
    assert "some/grid" in listed.stdout


def test_a_large_parcel_is_refused(grid: LoadedStudy, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcel_module, "MAX_BYTES", 100_000)
    (workplace / "studies" / "base" / "mistaken.yaml").write_bytes(bytes(5_000_000))
    with pytest.raises(ClusterError) as told, parcel(grid):
        pass
    # The culprit comes first.
    named = str(told.value).partition("The largest files are ")[2]
    assert named.startswith(f"{workplace / 'studies' / 'base' / 'mistaken.yaml'} (5.0 MB), ")
    assert "Data do not travel with a job" in named


def test_the_job_runs_the_same_study(workplace: Path) -> None:
    words = ["defense.recipe.epochs=9", "seeds=[0, 1]", "training.num_workers=2", "address=http://ray-head:8265"]
    loaded = load("some/grid", words, base="blended", runtime=PLACES)
    command = entrypoint(loaded, words, "blended", is_here=False, width=100)
    shell = f"python() {{ printf '%s\\n' \"$@\"; }}; BDRAY_OUTPUT='/there is/room'; {command}"
    told = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True).stdout.splitlines()
    # Every word as it was, all places said, and the cluster is the one that the job is in.
    assert told == [
        *("-m", "bdray.study", "some/grid", "defense.recipe.epochs=9", "seeds=[0, 1]", "training.num_workers=2"),
        *("--base", "blended", "--address", "auto", "--store", "s3://bucket/bdray"),
        *("--tracking-uri", "http://mlflow:5000", "--output", "/there is/room"),
    ]


def test_on_this_machine_the_folders_are_the_same(workplace: Path) -> None:
    command = entrypoint(load("some/grid"), [], None, is_here=True, width=80)
    words = shlex.split(command)
    assert words[words.index("--output") + 1] == str(workplace / ".bdray")
    assert words[words.index("--store") + 1] == str(workplace / ".bdray" / "store")
    assert words[words.index("--tracking-uri") + 1] == f"sqlite:///{workplace / '.bdray' / 'mlflow.db'}"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"tracking_uri": "http://mlflow:5000"}, "--store /here/store: is a place on this machine's disk"),
        ({"store": "file:///here/store"}, "--store file:///here/store: is a place"),
        ({"store": "s3://bucket/bdray"}, "--tracking-uri sqlite:////here/mlflow.db: is a place on this machine's disk"),
        (
            {**PLACES, "tracking_uri": "http://localhost:5000"},
            "--tracking-uri http://localhost:5000: is an address that",
        ),
        ({**PLACES, "tracking_uri": "http://127.0.0.1:5000"}, "means this machine only, but the cluster at"),
        ({**PLACES, "store": "s3://b/s?endpoint_override=http%3A%2F%2F127.0.0.1%3A9000"}, "--store s3://b/s"),
        ({**PLACES, "search_storage": "sqlite:////here/search.db"}, "search_storage sqlite:////here/search.db: is a"),
        ({**PLACES, "store": "/mntshared/bdray", "shared_folders": ["/mnt"]}, "--store /mntshared/bdray: is a place"),
    ],
)
def test_what_a_cluster_elsewhere_cannot_reach_is_refused(fields: dict[str, str], told: str) -> None:
    with pytest.raises(ClusterError) as error:
        check_reachable(Runtime(output=Path("/here"), **fields), SERVER)  # type: ignore[arg-type]
    assert told in str(error.value)
    assert "Give " in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [
        PLACES,
        {**PLACES, "tracking_uri": "https://mlflow.example.org/team", "store": "gs://bucket/bdray"},
        {
            **PLACES,
            "tracking_uri": "http://localhost.example.org:5000",
            "search_storage": "postgresql://me@db/searches",
        },
        {"output": "/mnt/shared/me", "shared_folders": ["/mnt/shared"]},
        {**PLACES, "store": "file:///mnt/shared/store", "shared_folders": ["/mnt"]},
    ],
)
def test_what_it_can_reach_is_fine(fields: dict[str, str]) -> None:
    runtime = Runtime(**fields)  # type: ignore[arg-type]
    check_secrets(runtime)
    check_reachable(runtime, SERVER)


@pytest.mark.parametrize(
    ("fields", "variable"),
    [
        ({"tracking_uri": "http://me:pa5sw0rd@mlflow:5000"}, "MLFLOW_TRACKING_PASSWORD"),
        ({"search_storage": "postgresql://me:pa5sw0rd@db/searches"}, "PGPASSWORD"),
        ({"store": "s3://AKIA:pa5sw0rd@bucket/store"}, "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_no_password_travels(fields: dict[str, str], variable: str) -> None:
    with pytest.raises(ClusterError) as error:
        check_secrets(Runtime(**fields))  # type: ignore[arg-type]
    assert variable in str(error.value)
    assert "pa5sw0rd" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [(None, False), ("auto", False), ("10.0.0.1:6379", False), ("ray://head:10001", False), (SERVER, True)],
)
def test_which_addresses_are_job_servers(address: str | None, expected: bool) -> None:
    assert is_job_server(address) is expected


@pytest.mark.parametrize("words", [[], ["--address", "auto"], ["some/grid", "--address", SERVER]])
def test_attach_needs_a_job_server_and_no_study(
    workplace: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--attach", "bdray-grid-0"]) == cli.BAD_INPUT
    assert "--attach JOB: takes no study, and --address http://HOST:8265" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_told(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://192.0.2.1:1")  # which would win, were it not for us
    assert main(["some/grid", "--address", "http://127.0.0.1:9"]) == cli.BAD_INPUT
    told = capsys.readouterr().err
    assert told.startswith("error: --address http://127.0.0.1:9: the job server cannot be used (")
    assert len(told.splitlines()) == 1
