"""What the tests of infra/ share: where its files are, and the objects that a kustomization stands for."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml

ROOT = Path(__file__).parents[3]
INFRA = ROOT / "infra"
MANIFESTS = {
    "cpu-demo": ["kuberay/cpu-demo", "kuberay/rayjob.yaml"],
    "gpu": ["kuberay/gpu", "kuberay/rayjob.yaml"],
    "mlflow": ["mlflow/kubernetes.yaml"],
}
"""What a reader of infra/README.md applies, by name."""


def objects(path: Path) -> list[dict[str, Any]]:
    """The Kubernetes objects of a file, or of a kustomization by the few of its features that infra/ uses."""
    if path.is_file():
        return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]
    settings = yaml.safe_load((path / "kustomization.yaml").read_text(encoding="utf-8"))
    known = {"apiVersion", "kind", "resources", "patches", "images"}
    assert settings.keys() <= known, f"teach this renderer about {settings.keys() - known}"
    # Written out and read back: YAML's aliases are one object here, and a patch of one would change the others.
    found = [copy.deepcopy(item) for name in settings["resources"] for item in objects((path / name).resolve())]
    found = [yaml.safe_load(yaml.dump(item, Dumper=_NoAliases)) for item in found]
    for patch in settings.get("patches", []):
        text = patch["patch"] if "patch" in patch else (path / patch["path"]).read_text(encoding="utf-8")
        chosen = [item for item in found if _is(item, patch["target"])]
        assert len(chosen) == 1, f"{patch['target']} names {len(chosen)} objects"
        jsonpatch.apply_patch(chosen[0], yaml.safe_load(text), in_place=True)
    for image in settings.get("images", []):
        for container in (container for item in found for _, spec in pods(item) for container in spec["containers"]):
            if container["image"].partition(":")[0] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return found


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _is(item: dict[str, Any], target: dict[str, str]) -> bool:
    group = item["apiVersion"].rpartition("/")[0]
    return (group, item["kind"], item["metadata"]["name"]) == (target["group"], target["kind"], target["name"])


def pods(item: dict[str, Any]) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Labels and specification of every kind of pod that an object makes."""
    spec = item.get("spec", {})
    templates = {
        "RayCluster": lambda: [
            spec["headGroupSpec"]["template"],
            *(group["template"] for group in spec["workerGroupSpecs"]),
        ],
        "RayJob": lambda: [spec["submitterPodTemplate"]],
        "Deployment": lambda: [spec["template"]],
        "StatefulSet": lambda: [spec["template"]],
    }
    for template in templates.get(item["kind"], list)():
        yield template.get("metadata", {}).get("labels", {}), template["spec"]


@pytest.fixture
def infra() -> Path:
    return INFRA


@pytest.fixture
def render() -> Callable[[Path], list[dict[str, Any]]]:
    return objects


@pytest.fixture
def pods_of() -> Callable[[dict[str, Any]], Iterator[tuple[dict[str, str], dict[str, Any]]]]:
    return pods


@pytest.fixture(params=MANIFESTS)
def applied(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """All objects of one target."""
    return [item for name in MANIFESTS[request.param] for item in objects(INFRA / name)]
