"""Take the README's picture of MLflow's comparison page with a headless Chromium.

Usage: python scripts/screenshot_mlflow.py .bdray docs/mlflow.png
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

STUDY = "ablations/lambda2"
CHROMIUM = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=30000",
)  # fmt: skip
PAGE, CROP = (1700, 1000), (195, 0, 1252, 1000)
"""Size of the browser's window, and the part of it without MLflow's side bars (left, top, right, bottom)."""


def main() -> None:
    """Start MLflow on the study's database, open the comparison of the defended runs, and save a picture."""
    output, picture = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{output / 'mlflow.db'}"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    light = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(command, env=light, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        page = comparison(f"http://127.0.0.1:{port}")
        with tempfile.TemporaryDirectory() as profile:
            shot = Path(profile) / "page.png"
            size = f"--window-size={PAGE[0]},{PAGE[1]}"
            subprocess.run(
                [*CHROMIUM, size, f"--user-data-dir={profile}", f"--screenshot={shot}", page],
                check=True, capture_output=True, timeout=180,
            )  # fmt: skip
            Image.open(shot).crop(CROP).quantize(128).save(picture, optimize=True)
    finally:
        server.terminate()
        server.wait()


def comparison(server: str) -> str:
    """Address of the page that compares the study's defended runs, once the server answers."""
    for _ in range(120):
        try:
            found = post(server, "experiments/get-by-name", None)
            break
        except urllib.error.URLError:
            time.sleep(0.5)
    else:
        raise SystemExit("the MLflow server did not start")
    experiment = found["experiment"]["experiment_id"]
    query = {"experiment_ids": [experiment], "filter": "tags.stage = 'defend'", "max_results": 100}
    runs = [run["info"]["run_id"] for run in post(server, "runs/search", query)["runs"]]
    ids, experiments = (urllib.parse.quote(json.dumps(value)) for value in (runs, [experiment]))
    return f"{server}/#/compare-runs?runs={ids}&experiments={experiments}"


def post(server: str, path: str, query: dict[str, Any] | None) -> dict[str, Any]:
    """Call MLflow's REST interface; without a query, ask for the study's experiment."""
    url = f"{server}/api/2.0/mlflow/{path}"
    if query is None:
        url += "?" + urllib.parse.urlencode({"experiment_name": STUDY})
    data = json.dumps(query).encode() if query is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


if __name__ == "__main__":
    main()
