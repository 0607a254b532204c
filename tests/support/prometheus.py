"""A real Prometheus on a free port that scrapes one page every second, with rules if wanted."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.node import dcmtk, wait_until
from tests.support.orthanc import free_port


def promtool(*arguments: object, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run Debian's promtool."""
    return subprocess.run(
        [dcmtk("promtool"), *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Prometheus:
    """The server that runs."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer; what is refused fails with Prometheus' own words."""
        url = f"{self._base}/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - ours
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples that an expression gives now."""
        return list(self.ask("query", query=expression)["result"])

    def is_scraping(self) -> bool:
        try:
            return bool(self.query("count_over_time(up[1m]) > 3 and up == 1"))
        except (OSError, AssertionError):
            return False  # it is not there yet, or reads its files


@contextmanager
def scraping(page: str, folder: Path, *, rules: Sequence[Path] = ()) -> Iterator[Prometheus]:
    """Run a Prometheus; give it when it has scraped the page a few times."""
    url = urllib.parse.urlsplit(page)
    config = folder / "prometheus.yml"
    folder.mkdir(parents=True)
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(each) for each in rules],
                "scrape_configs": [
                    {
                        "job_name": "node",
                        "metrics_path": url.path,
                        "static_configs": [{"targets": [url.netloc]}],
                    }
                ],
            }
        )
    )
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                dcmtk("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'db'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            server = Prometheus(port)
            wait_until(server.is_scraping, 60, "Prometheus scraped the page")
            yield server
        finally:
            process.terminate()
            process.wait(20)


def dashboard_expressions(node: Any) -> list[str]:
    """Return every PromQL expression of a Grafana dashboard, its variables filled in."""
    if isinstance(node, list):
        return [each for part in node for each in dashboard_expressions(part)]
    if not isinstance(node, dict):
        return []
    found = [each for part in node.values() for each in dashboard_expressions(part)]
    if isinstance(node.get("expr"), str):
        found.append(re.sub(r"\$\w+", ".*", node["expr"].replace("$__rate_interval", "1m")))
    return found
