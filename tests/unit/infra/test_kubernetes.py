"""Kubernetes manifests, by the schemas of Kubernetes and KubeRay; and what their pods may do."""

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

Object = dict[str, Any]
CRDS = Path(__file__).parents[2] / "data" / "kuberay"
KUBERNETES = "1.35"


@pytest.fixture(scope="module")
def schemas() -> dict[str, Draft202012Validator]:
    """KubeRay's schemas by kind, with unknown fields refused, as `kubectl apply` refuses them."""
    found = {}
    for path in CRDS.glob("*.yaml"):
        definition = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
        (version,) = (version for version in definition["versions"] if version["name"] == "v1")
        schema = version["schema"]["openAPIV3Schema"]
        schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
        _close(schema)
        found[definition["names"]["kind"]] = Draft202012Validator(schema)
    return found


def _close(schema: Any) -> None:
    if isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            _close(value)
    elif isinstance(schema, list):
        for value in schema:
            _close(value)


def check(item: Object, schemas: dict[str, Draft202012Validator]) -> None:
    if item["apiVersion"] == "ray.io/v1":
        schemas[item["kind"]].validate(item)
        for _, spec in _templates(item):  # KubeRay's schema lets some through that Kubernetes' does not
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    else:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)


def _templates(item: Object) -> Iterator[tuple[Any, Object]]:
    from_head = (
        [item["spec"]["headGroupSpec"], *item["spec"]["workerGroupSpecs"]] if item["kind"] == "RayCluster" else []
    )
    yield from ((None, group["template"]["spec"]) for group in from_head)
    if item["kind"] == "RayJob":
        yield None, item["spec"]["submitterPodTemplate"]["spec"]


def test_objects_match_their_schemas(applied: list[Object], schemas: dict[str, Draft202012Validator]) -> None:
    for item in applied:
        check(item, schemas)


@pytest.mark.parametrize(
    "path",
    [
        ("spec", "authOption"),
        ("spec", "headGroupSpec", "template", "spec", "containers", 0, "securityContexts"),
        ("spec", "workerGroupSpecs", 0, "maxReplica"),
    ],
)
def test_a_misspelled_field_is_found(
    path: tuple[Any, ...], infra: Path, render: Callable[[Path], list[Object]], schemas: dict[str, Draft202012Validator]
) -> None:
    (cluster,) = (item for item in render(infra / "kuberay" / "gpu") if item["kind"] == "RayCluster")
    place = cluster
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = 1
    # The schemas above are strict, or the test above proves little.
    with pytest.raises(ValidationError, match=str(path[-1])):
        check(cluster, schemas)


@pytest.mark.parametrize("name", ["cpu-demo", "gpu"])
def test_kustomize_renders_the_same(name: str, infra: Path, render: Callable[[Path], list[Object]]) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    command = ["kubectl", "kustomize", str(infra / "kuberay" / name)]
    environment = {**os.environ, "KUBECONFIG": os.devnull}  # no cluster is asked
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    # The renderer of these tests agrees with kustomize itself.
    assert _sorted(yaml.safe_load_all(done.stdout)) == _sorted(render(infra / "kuberay" / name))


def _sorted(items: Any) -> list[str]:
    return sorted(json.dumps(item, sort_keys=True) for item in items)


def hardened(spec: Object) -> list[str]:
    """What a pod is missing to be let into a namespace of the `restricted` kind, and more."""
    context = spec.get("securityContext", {})
    missing = [
        name
        for name, is_there in {
            "runAsNonRoot": context.get("runAsNonRoot") is True,
            "a user": context.get("runAsUser", 0) > 0,
            "seccomp": context.get("seccompProfile") == {"type": "RuntimeDefault"},
            "no account token": spec.get("automountServiceAccountToken") is False,
            "no host namespaces": not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(),
            "no host paths": not any("hostPath" in volume for volume in spec.get("volumes", [])),
        }.items()
        if not is_there
    ]
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        missing += [f"{container['name']}: {name}" for name in hardened_container(container)]
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        claims = {"data"}  # of a StatefulSet's templates
        missing += [
            f"{container['name']}: volume {mount['name']}"
            for mount in container["volumeMounts"]
            if mount["name"] not in volumes | claims
        ]
    return missing


def hardened_container(container: Object) -> list[str]:
    context, resources = container.get("securityContext", {}), container.get("resources", {})
    rules = {
        "no privilege escalation": context.get("allowPrivilegeEscalation") is False,
        "read-only root": context.get("readOnlyRootFilesystem") is True,
        "no capabilities": context.get("capabilities") == {"drop": ["ALL"]},
        "not privileged": not context.get("privileged"),
        "requests are limits": bool(resources) and resources.get("requests") == resources.get("limits"),
        "no host port": not any("hostPort" in port for port in container.get("ports", [])),
    }
    return [name for name, is_there in rules.items() if not is_there]


def test_pods_are_hardened(applied: list[Object], pods_of: Callable[[Object], Iterator[tuple[Any, Object]]]) -> None:
    specs = [spec for item in applied for _, spec in pods_of(item)]
    assert specs
    for spec in specs:
        assert hardened(spec) == []
    for item in applied:
        autoscaler = item.get("spec", {}).get("autoscalerOptions")
        if autoscaler:
            assert hardened_container(autoscaler) == []


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (lambda spec: spec["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
        (lambda spec: spec["containers"][0]["securityContext"].update(privileged=True), "ray-head: not privileged"),
        (lambda spec: spec["containers"][0]["resources"]["limits"].update(cpu="9"), "ray-head: requests are limits"),
        (lambda spec: spec["volumes"].pop(0), "ray-head: volume work"),
        (lambda spec: spec["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "no host paths"),
    ],
)
def test_what_is_missing_is_found(
    change: Callable[[Object], Any],
    missing: str,
    infra: Path,
    render: Callable[[Path], list[Object]],
    pods_of: Callable[[Object], Iterator[tuple[Any, Object]]],
) -> None:
    (cluster,) = (item for item in render(infra / "kuberay" / "gpu") if item["kind"] == "RayCluster")
    _, spec = next(pods_of(copy.deepcopy(cluster)))
    change(spec)
    assert hardened(spec) == [missing]


def test_ray_writes_only_where_it_may(infra: Path, render: Callable[[Path], list[Object]]) -> None:
    for name in ("cpu-demo", "gpu"):
        (cluster,) = (item for item in render(infra / "kuberay" / name) if item["kind"] == "RayCluster")
        for _, spec in _templates(cluster):
            # Under a read-only root: Ray's sessions, its objects, the token it may write, and the study's output.
            mounted = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
            assert mounted == {"/tmp", "/dev/shm", "/home/ray", "/work"}


def test_token_authentication_is_on(infra: Path, render: Callable[[Path], list[Object]]) -> None:
    for name in ("cpu-demo", "gpu"):
        (cluster,) = (item for item in render(infra / "kuberay" / name) if item["kind"] == "RayCluster")
        assert cluster["spec"]["authOptions"] == {"mode": "token", "secretName": "bdray-ray-token"}


def test_only_the_autoscaler_may_ask_kubernetes(infra: Path, render: Callable[[Path], list[Object]]) -> None:
    (cluster,) = (item for item in render(infra / "kuberay" / "gpu") if item["kind"] == "RayCluster")
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert account in {mount["mountPath"] for mount in cluster["spec"]["autoscalerOptions"]["volumeMounts"]}
    for _, spec in _templates(cluster):
        assert all(account != mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"])


def test_gpu_pool_grows_on_spot_nodes(infra: Path, render: Callable[[Path], list[Object]]) -> None:
    (cluster,) = (item for item in render(infra / "kuberay" / "gpu") if item["kind"] == "RayCluster")
    (group,) = cluster["spec"]["workerGroupSpecs"]
    pod = group["template"]["spec"]
    assert cluster["spec"]["enableInTreeAutoscaling"]
    # From nothing: tests/integration/test_cluster.py shows that a study with slots=NUMBER asks for nodes.
    assert 0 == group["minReplicas"] == group["replicas"] < group["maxReplicas"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "spot" in json.dumps(pod["nodeSelector"])


def test_network_is_closed_but_for_what_is_listed(
    applied: list[Object], pods_of: Callable[[Object], Iterator[tuple[dict[str, str], Object]]]
) -> None:
    policies = [item for item in applied if item["kind"] == "NetworkPolicy"]
    namespaces = {item["metadata"]["namespace"] for item in applied if list(pods_of(item))}
    everything = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    # Each namespace with pods starts from nothing.
    assert namespaces == {item["metadata"]["namespace"] for item in policies if item["spec"] == everything}
    for policy in policies:
        for rule in policy["spec"].get("ingress", []):
            # Who comes in is named: no rule without a sender, and none that names all pods or all addresses.
            assert rule.get("from")
            for peer in rule["from"]:
                assert "ipBlock" not in peer
                assert peer.get("podSelector")
        for rule in policy["spec"].get("egress", []):
            for peer in rule["to"]:
                # Whatever reaches out of the cluster does not reach the node's own credentials.
                assert "ipBlock" not in peer or peer["ipBlock"]["except"] == ["169.254.0.0/16"]


def test_every_pod_has_a_policy(
    applied: list[Object], pods_of: Callable[[Object], Iterator[tuple[dict[str, str], Object]]]
) -> None:
    policies = [item["spec"] for item in applied if item["kind"] == "NetworkPolicy"]
    selected = [policy["podSelector"] for policy in policies if policy["podSelector"]]
    for labels, _ in (pod for item in applied for pod in pods_of(item)):
        # A label that no policy knows would be a pod that reaches nothing, its own cluster included.
        assert any(_matches(selector, labels) for selector in selected), labels


def _matches(selector: Object, labels: dict[str, str]) -> bool:
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", []))


def test_services_stay_inside(applied: list[Object]) -> None:
    for item in applied:
        if item["kind"] == "Service":
            assert item["spec"]["type"] == "ClusterIP"
        assert item["kind"] not in ("Ingress", "Secret")  # the one opens, the other would have to hold one
