"""Ray's VM launcher takes both of its files, by its own checks and by those of AWS."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

FILES = ["cluster", "on_premise"]


@pytest.fixture(params=FILES)
def config(request: pytest.FixtureRequest, infra: Path) -> dict[str, Any]:
    return read(infra / "ray" / f"{request.param}.yaml")


def read(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tree


def test_launcher_takes_it(config: dict[str, Any]) -> None:
    whole = prepare_config(config)
    validate_config(whole)
    # The defaults that `ray up` adds change nothing that protects: what starts Ray is still what the file says.
    assert whole["head_start_ray_commands"] == config["head_start_ray_commands"]
    assert whole["docker"] == {}


def test_launcher_refuses_mistakes(config: dict[str, Any]) -> None:
    # The check above is one that can fail.
    with pytest.raises(ValidationError, match="max_worker"):
        validate_config(prepare_config({**config, "max_worker": 8}))


def starts(config: dict[str, Any]) -> list[list[str]]:
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    return [shlex.split(command) for command in commands if " ray start " in command]


def test_every_ray_has_a_token_and_listens_on_loopback(config: dict[str, Any]) -> None:
    head, worker = starts(config)
    for words in (head, worker):
        assert words[words.index("ray") - 1] == "RAY_AUTH_MODE=token"
    assert "--dashboard-host=127.0.0.1" in head
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"  # the user's own, not one in the file


def test_options_are_ray_s(config: dict[str, Any]) -> None:
    program = Path(sys.executable).with_name("ray")
    known = subprocess.run([program, "start", "--help"], capture_output=True, text=True, check=True).stdout.split()
    for words in starts(config):
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= set(known)


def test_what_is_copied_exists_and_is_enough(config: dict[str, Any], infra: Path) -> None:
    root = infra.parent
    copied = {remote: local for remote, local in config["file_mounts"].items() if not local.startswith("~")}
    assert all((root / local).exists() for local in copied.values())
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    # All that a build of the package reads.
    assert 'readme = "README.md"' in project
    assert {
        "~/bdray/bdray",
        "~/bdray/studies",
        "~/bdray/pyproject.toml",
        "~/bdray/README.md",
        "~/bdray/LICENSE",
    } <= copied.keys()
    # Nothing else travels: no results, no repository, no environment.
    assert not {".", "..", ".git", ".bdray", ".venv"} & set(copied.values())
    assert "sh ~/bdray/setup.sh" in config["setup_commands"]


def test_cloud_has_spot_gpus_and_an_end_to_costs(infra: Path) -> None:
    config = read(infra / "ray" / "cluster.yaml")
    head, gpu = config["available_node_types"]["head"], config["available_node_types"]["gpu"]
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in head["node_config"]  # it would take the study with it
    assert 0 == gpu["min_workers"] < gpu["max_workers"] <= config["max_workers"]
    assert config["idle_timeout_minutes"] <= 10
    assert config["provider"]["cache_stopped_nodes"] is False


def test_machines_are_closed(infra: Path) -> None:
    for node in read(infra / "ray" / "cluster.yaml")["available_node_types"].values():
        settings = node["node_config"]
        # Else the launcher makes a group that opens SSH to the internet, and a role with full access to EC2 and S3.
        assert settings["SecurityGroupIds"]
        assert settings["IamInstanceProfile"]
        assert settings["MetadataOptions"]["HttpTokens"] == "required"
        assert all(device["Ebs"]["Encrypted"] for device in settings["BlockDeviceMappings"])


def test_nodes_are_what_aws_takes(infra: Path) -> None:
    botocore = pytest.importorskip("botocore.session", reason="needs boto3")
    from botocore.validate import ParamValidator

    shape = botocore.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for node in read(infra / "ray" / "cluster.yaml")["available_node_types"].values():
        settings = {**node["node_config"], "MinCount": 1, "MaxCount": 1}
        assert ParamValidator().validate(settings, shape).generate_report() == ""
        # A misspelled setting is one that AWS does not take.
        settings["InstanceTypes"] = settings["InstanceType"]
        assert "InstanceTypes" in ParamValidator().validate(settings, shape).generate_report()


def test_both_files_make_the_same_environment(infra: Path) -> None:
    cloud, own = (read(infra / "ray" / f"{name}.yaml") for name in FILES)
    for field in ("file_mounts", "setup_commands", "rsync_exclude", "worker_start_ray_commands"):
        assert cloud[field] == own[field]
