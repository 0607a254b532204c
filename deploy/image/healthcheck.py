"""Ask the node in this container whether it lives; for the image's HEALTHCHECK.

Needs nothing but the standard library: it runs every half minute.  Where the node listens is read
from what it reads itself, file and environment.
"""

from __future__ import annotations

import os
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

# Names in the environment of the section's keys.
_PREFIX = "DICOMNODE_"
# Of `serve` and `console`, then of a role alone.
_DEFAULT_PORTS = {"console": 8080, "health": 8081}
_TIMEOUT_SECONDS = 4.0


def main() -> int:
    """Return 0 if the console or the health port answers, else 1."""
    told = []
    for url in find_urls():
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS):  # noqa: S310  (http alone)
                return 0
        except (urllib.error.URLError, OSError) as error:
            told.append(f"{url}: {error}")
    print("\n".join(told), file=sys.stderr)  # noqa: T201
    return 1


def find_urls() -> Iterator[str]:
    """Yield where liveness may be asked, from within the container."""
    path = os.environ.get("DICOMNODE_CONFIG")
    values = tomllib.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    for section, default in _DEFAULT_PORTS.items():
        found = values.get(section, {})
        host = os.environ.get(f"{_PREFIX}{section.upper()}__HOST", found.get("host", "127.0.0.1"))
        port = os.environ.get(f"{_PREFIX}{section.upper()}__PORT", found.get("port", default))
        # Who listens on every address is asked on this machine's own.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        yield f"http://[{host}]:{port}/healthz" if ":" in host else f"http://{host}:{port}/healthz"


if __name__ == "__main__":
    sys.exit(main())
