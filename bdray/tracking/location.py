"""Where MLflow keeps a study: in a SQLite file or behind a server."""

import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bdray.exceptions import TrackingError

UI_PORT = 5000
SERVER = re.compile(r"https?://([^/?#\s]*@)?(\[[\da-f:]+\]|[^/?#@:\s]+)(:\d+)?(/[^?#@\s]*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Location:
    """A tracking URI that was checked."""

    uri: str
    """Absolute, and with its password."""
    database: Path | None = None
    """The SQLite file; None behind a server."""

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read what a user gives.

        Raises:
            TrackingError: If it is of no supported kind.
        """
        if SERVER.fullmatch(uri):
            return cls(uri.rstrip("/"))
        name = uri.removeprefix("sqlite:///")
        path = Path(name).expanduser().resolve()
        # In the URI of a database ? and % have a meaning, and with a colon it is of another kind.
        if not name or re.search("[?%:]", str(path)) or (name == uri and path.suffix != ".db"):
            shown = re.sub(r"(?<=://)\S*@", "***@", uri)  # redact() stops at a /, which a password may hold
            raise TrackingError(
                f"tracking URI {shown!r} is not supported. Give sqlite:////absolute/path/mlflow.db without ?, % and :, "
                "the path of such a .db file, or the address http(s)://HOST:PORT of an MLflow server, which may use a "
                "database server and object storage (see infra/mlflow). Percent-encode a password in it, or set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
        return cls(f"sqlite:///{path}", path)

    @property
    def artifacts(self) -> str | None:
        """Where the files of all runs go, each run's in a folder of its own; None: the server knows."""
        return None if self.database is None else f"{self.database.with_suffix('').as_uri()}-artifacts"

    @property
    def page(self) -> str:
        """The address of the UI, without secrets."""
        return f"http://127.0.0.1:{UI_PORT}" if self.database else re.sub(r"(?<=://)[^/]*@", "", self.uri)

    @property
    def ui_command(self) -> str:
        """The shell command that shows the database in a browser, or the address of the server that does."""
        if self.database is None:
            return self.page
        mlflow = "mlflow" if shutil.which("mlflow") else f"{shlex.quote(sys.executable)} -m mlflow"
        # One worker and no job runner: half the memory and half the time to start.
        light = "MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"
        store = f"--backend-store-uri {shlex.quote(self.uri)}"
        return f"{light} {mlflow} ui {store} --host 127.0.0.1 --port {UI_PORT} --workers 1"
