"""Whether a cluster elsewhere can reach what a study names: its store, its tracker, its history."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bdray.exceptions import ClusterError
from bdray.study.runtime import Runtime

LOOPBACK = re.compile(r"//(?:[^/@]*@)?(localhost|127\.[\d.]+|\[::1\])(?=[:/?&]|$)")


def check_secrets(runtime: Runtime) -> None:
    """Refuse passwords, which would stand in the job's command for everyone who sees the cluster.

    Raises:
        ClusterError: With the option, and where the password belongs.
    """
    for option, value, _, variable in _named(runtime):
        parts = urlsplit(value)
        if parts.password or (parts.username and parts.scheme in ("s3", "gs")):
            raise ClusterError(
                f"{option}: has a password in it, which all who see the cluster's jobs would read. Leave it out, and "
                f"set {variable} in the environment of the cluster's machines."
            )


def check_reachable(runtime: Runtime, address: str) -> None:
    """Refuse what only this machine has, for a cluster of other machines.

    Raises:
        ClusterError: With the option, its value and what to give instead.
    """
    for option, value, instead, _ in _named(runtime):
        path = _path(value)
        if path is not None and any(path.is_relative_to(folder) for folder in runtime.shared_folders):
            continue
        here = "a place on this machine's disk" if path else "an address that means this machine only"
        if path is not None or LOOPBACK.search(unquote(value)):
            shared = ""
            if path is not None:
                shared = (
                    f"; or, if all machines have the folder under this path, say so: 'shared_folders=[{path.parent}]'"
                )
            raise ClusterError(
                f"{option} {value}: is {here}, but the cluster at {address} is not. Give {instead}{shared}."
            )


def _named(runtime: Runtime) -> Sequence[tuple[str, str, str, str]]:
    """Option, value, what to give instead, and the variables for its password."""
    found = [
        (
            "--store",
            runtime.store_uri,
            "a URI such as s3://bucket/bdray",
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (
            "--tracking-uri",
            runtime.tracking,
            "an MLflow server such as http://mlflow:5000",
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
    ]
    if runtime.search_storage is not None:
        found.append(
            ("search_storage", runtime.search_storage, "a database such as postgresql://db/bdray", "PGPASSWORD")
        )
    return found


def _path(value: str) -> Path | None:
    """The local path that a value names; None for what is reached over a network."""
    scheme, separator, rest = value.partition("://")
    if not separator:
        return Path(value)
    return Path(rest) if scheme == "file" else Path("/" + rest.lstrip("/")) if scheme.startswith("sqlite") else None
