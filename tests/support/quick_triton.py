"""An embedded Triton for tests that need one, and do not ask how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.processes import Process, descendants


def process_of(server: EmbeddedTriton) -> Process:
    """Return the server's own process: others of this test run may have one running, too."""
    port = f"--grpc-port={server.address.rpartition(':')[2]}"
    (found,) = (
        each
        for each in descendants(os.getpid())
        if each.name == "tritonserver"
        and port in Path(f"/proc/{each.pid}/cmdline").read_text(encoding="utf-8").split("\0")
    )
    return found


class QuickTriton(EmbeddedTriton):
    """Ends at once: Triton looks once a second whether its models have ended, and takes two."""

    def stop(self) -> None:
        """Kill the server; its guardian clears up after it."""
        self._stop.set()
        with contextlib.suppress(ValueError, OSError):  # it has ended, or ends just now
            os.kill(process_of(self).pid, signal.SIGKILL)
        super().stop()
