"""A real S3 server (moto's) on this machine, which can be told to fail and to be slow."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

BUCKET = "bucket"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
}
"""What its clients need; it lets everyone in."""
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
CODES = {403: "Forbidden", 500: "Internal Server Error", 503: "Slow Down"}


@dataclass
class ObjectStore:
    """The server. Its faults stand between clients and moto, one for each request, in order."""

    port: int
    application: Application
    faults: list[int | float] = field(default_factory=list)
    """A status (int) to answer with, or seconds (float) to wait before the true answer."""
    requests: list[str] = field(default_factory=list)
    """All of them so far: ``GET /bucket/path``."""

    def uri(self, path: str) -> str:
        return (
            f"s3://{BUCKET}/{path}?endpoint_override={quote(f'http://127.0.0.1:{self.port}', safe='')}&region=us-east-1"
        )

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        self.requests.append(f"{environment['REQUEST_METHOD']} {environment['PATH_INFO']}")
        fault = self.faults.pop(0) if self.faults else 0.0
        if isinstance(fault, int):
            start(f"{fault} {CODES[fault]}", [("Content-Type", "application/xml")])
            code = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}[fault]
            return [f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()]
        time.sleep(fault)
        return self.application(environment, start)


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A server with one empty bucket, for as long as the block runs."""
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = ObjectStore(0, DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, store, threaded=True)
    store.port = server.port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        _create_bucket(store)
        yield store
    finally:
        server.shutdown()
        thread.join()


def _create_bucket(store: ObjectStore) -> None:
    import urllib.request

    created = urllib.request.Request(f"http://127.0.0.1:{store.port}/{BUCKET}", method="PUT")
    signed = "AWS4-HMAC-SHA256 Credential=nobody/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    created.add_header("Authorization", signed)
    with urllib.request.urlopen(created):
        pass
