"""Have a judge of Prometheus pages look at a node through which a series went.

    python tools/judge_monitoring.py JUDGE

JUDGE is a program that takes the address of a page, ``--rules FILE`` and ``--dashboard FILE``, and
ends with 0 if all is well.  The node is one of its own, with the embedded Triton, on free ports.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from dicomnode.demo.phantom import write_series

ROOT = Path(__file__).resolve().parents[1]
MONITORING = ROOT / "config" / "monitoring"
COMMAND = Path(sys.executable).with_name("dicomnode")
SECONDS = 180

CONFIG = """
data_dir = "{folder}/data"
receive.port = 0
console.port = 0
pipelines.chest = {{ ae_title = "CHEST", destinations = ["share"] }}
destinations.share = {{ kind = "folder", path = "{folder}/share" }}
"""


def main(judge: Path) -> int:
    """Start a node, send it a series, ask the judge."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "dicomnode.toml")
        config.write_text(CONFIG.format(folder=folder))
        with subprocess.Popen(
            [COMMAND, "serve", "--config", config], stdout=subprocess.PIPE, text=True
        ) as node:
            try:
                said = wait_until_ready(node)
                console = re.search(r"^console: (\S+?)/?$", said, re.MULTILINE)[1]
                address = re.search(r"^DICOM storage.*: (\S+)$", said, re.MULTILINE)[1]
                ct = write_series(Path(folder, "ct"), slices=40, rows=256, columns=240)
                subprocess.run([COMMAND, "send", ct[0].parent, "--to", address], check=True)
                wait_until_delivered(console)
                return subprocess.run(
                    [
                        *(sys.executable, judge, f"{console}/metrics"),
                        *("--rules", MONITORING / "alerts.yml"),
                        *("--dashboard", MONITORING / "dashboard.json"),
                    ],
                    check=False,
                ).returncode
            finally:
                node.terminate()


def wait_until_ready(node: subprocess.Popen[str]) -> str:
    """Return what the node says until it is ready."""
    said = ""
    for line in node.stdout:
        said += line
        if line == "ready\n":
            return said
    raise SystemExit("the node did not become ready")


def wait_until_delivered(console: str) -> None:
    """Wait until the one job of the node is done and delivered."""
    deadline = time.monotonic() + SECONDS
    pause = threading.Event()
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{console}/metrics") as answer:  # noqa: S310 - ours
            page = answer.read().decode()
        if re.search(r'deliveries_total\{.*outcome="delivered"\} 1', page):
            return
        pause.wait(0.5)  # there is nothing to wait on
    raise SystemExit(json.dumps({"not delivered": console}))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
