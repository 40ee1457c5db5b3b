"""Running a study as a job of a cluster's job server, from a machine that has nothing but the client."""

import asyncio
import logging
import os
import re
import shlex
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from bdray import cli
from bdray.exceptions import ClusterError
from bdray.study.parcel import parcel
from bdray.study.reach import check_reachable, check_secrets
from bdray.study.runtime import Runtime
from bdray.study.spec import LoadedStudy

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

CLUSTER_OUTPUT = "${BDRAY_OUTPUT:-$HOME/.bdray}"
"""Where a job leaves its caches and reports, unless ``--output`` says: for the shell of the cluster to fill in."""
PLACES = ("address", "output", "store", "tracking_uri")
"""Fields of the runtime that a job is told by options, however they were given here."""
PAUSE_SECONDS = 1.0
HOST_ATTEMPTS = 20
MAX_SILENCE = 300.0
"""Seconds for which the job server may be away before we stop waiting for it. The job does not notice."""


def submit(loaded: LoadedStudy, overrides: Sequence[str], base: str | None, console: Console) -> int:
    """Send a study to the job server at its address and follow it.

    Args:
        loaded: The study, checked.
        overrides: The words of the command line that changed it.
        base: The base experiment that the command line named.
        console: For the job's output.

    Returns:
        The job's exit status, or that of an interruption if the user left it to itself.

    Raises:
        ClusterError: If the cluster cannot be reached, does not let us in, or could not reach what the study names.
    """
    runtime, address = loaded.runtime, loaded.runtime.address or ""
    check_secrets(runtime)
    with _client(address) as client:
        is_here = _hosts(client) == {socket.gethostname()}
        if not is_here:
            check_reachable(runtime, address)
        job = f"bdray-{re.sub(r'[^a-zA-Z0-9]+', '-', loaded.name)}-{uuid.uuid4().hex[:8]}"
        with parcel(loaded) as folder:
            command = entrypoint(loaded, overrides, base, is_here=is_here, width=console.width)
            client.submit_job(entrypoint=command, submission_id=job, runtime_env={"working_dir": str(folder)})
    console.print(f"job {job} at {address}", highlight=False, soft_wrap=True)
    return attach(address, job, console)


def attach(address: str, job: str, console: Console) -> int:
    """Follow a job to its end and return its exit status; Ctrl-C leaves it to itself.

    Raises:
        ClusterError: If the cluster cannot be reached or has no such job.
    """
    try:
        with _client(address) as client:
            return _follow(client, job, console)
    except KeyboardInterrupt:
        for line in (
            "\nDetached: the job goes on.",
            f"to return  python -m bdray.study --address {address} --attach {job}",
            f"to end it  ray job stop --address {address} {job}",
        ):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        return cli.INTERRUPTED


def entrypoint(loaded: LoadedStudy, overrides: Sequence[str], base: str | None, *, is_here: bool, width: int) -> str:
    """The job's shell command: the same study, with all places said.

    Args:
        loaded: The study.
        overrides: Words of the command line.
        base: Another base experiment.
        is_here: Whether the cluster is this machine, whose folders then are its own.
        width: Columns of the terminal that the output is for.
    """
    runtime = loaded.runtime
    words = [word for word in overrides if word.partition("=")[0] not in PLACES]
    words = ["python", "-m", "bdray.study", loaded.name, *words, *(["--base", base] if base else [])]
    words += ["--address", "auto", "--store", runtime.store_uri, "--tracking-uri", runtime.tracking]
    is_default = runtime.output == Runtime().output
    output = f'"{CLUSTER_OUTPUT}"' if is_default and not is_here else shlex.quote(str(runtime.output.absolute()))
    return f"COLUMNS={width} PYTHONUNBUFFERED=1 {shlex.join(words)} --output {output}"


@contextmanager
def _client(address: str) -> "Iterator[JobSubmissionClient]":
    """The client of a job server; its errors are one line."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):  # which would win over the address that was given
        os.environ.pop(name, None)
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    for name in ("dashboard.modules.job.sdk", "dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{name}").setLevel(logging.ERROR)
    try:
        yield JobSubmissionClient(address)
    except RayError as error:
        raise ClusterError(
            f"--address {address}: the cluster does not let us in ({_one_line(error)}). Set RAY_AUTH_MODE=token, and "
            "its token in RAY_AUTH_TOKEN."
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"--address {address}: the job server cannot be used ({_one_line(error)}). It is where Ray's dashboard is, "
            "mostly at port 8265, on a cluster with ray[default]; --address auto joins the cluster of this machine."
        ) from error


def _hosts(client: "JobSubmissionClient") -> set[str]:
    """Names of the cluster's machines. A forwarded port has a loopback address, too, so the address tells nothing."""
    for _ in range(HOST_ATTEMPTS):
        response = client._do_request("GET", "/nodes?view=hostnamelist")
        found: list[str] = response.json()["data"]["hostNameList"] if response.ok else []
        if found or not response.ok:
            break
        time.sleep(PAUSE_SECONDS)  # a cluster that has just started does not know them yet
    return set(found)


def _follow(client: "JobSubmissionClient", job: str, console: Console) -> int:
    """Print the job's output until it ends, also when the connection breaks meanwhile."""
    client.get_job_status(job)  # raises for one that does not exist
    shown = _Shown(console)
    answered = time.monotonic()
    while True:
        try:
            asyncio.run(_tail(client, job, shown))
            found = client.get_job_info(job)
            answered = time.monotonic()
            if found.status.is_terminal():
                shown.catch_up(client.get_job_logs(job))
                break
        except (OSError, RuntimeError):
            if time.monotonic() - answered > MAX_SILENCE:
                raise
        time.sleep(PAUSE_SECONDS)
    if found.driver_exit_code is not None:
        return int(found.driver_exit_code)
    if str(found.status.value) == "SUCCEEDED":
        return cli.GOOD
    console.print(f"job {job}: {found.status.value.lower()}. {cli.plain(found.message or '')}", highlight=False)
    return cli.FOUND


class _Shown:
    """How much of the output the user has seen: a server sends all of it again to who comes back."""

    def __init__(self, console: Console) -> None:
        self._console, self._seen = console, 0

    def stream(self) -> "Callable[[str], None]":
        """Take the output from its beginning, piece by piece; prints what is new."""
        at = 0

        def take(piece: str) -> None:
            nonlocal at
            at += len(piece)
            if at > self._seen:
                self._console.file.write(piece[len(piece) - (at - self._seen) :])
                self._console.file.flush()
                self._seen = at

        return take

    def catch_up(self, whole: str) -> None:
        """Print what is missing of the whole output."""
        self.stream()(whole)


async def _tail(client: "JobSubmissionClient", job: str, shown: _Shown) -> None:
    take = shown.stream()
    async for piece in client.tail_job_logs(job):
        take(piece)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
