"""A process that runs the job engine over a folder, for tests that kill it.  Not the product.

A workflow ``count`` writes a line a step to ``FOLDER/steps`` and waits, in its second step, until
``FOLDER/go`` is there.  ``ready`` is printed once the engine runs; SIGTERM stops it.  With a drain
the file is made after it, and what then still runs comes to its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from dicomnode import engine as engine_module
from dicomnode import log
from dicomnode.database import open_database
from dicomnode.engine import Engine, run_step
from dicomnode.errors import StateError
from dicomnode.model.work import Queue
from dicomnode.stopping import StopRequest

SWEEP_SECONDS = 0.4
IDLE_SECONDS = 1.0
"""Sooner than in operation: tests wait for both."""
QUEUES = (Queue(name="count", concurrency=4),)


def run_engine(folder: str, slot: str, drain_seconds: str = "") -> None:
    """Run it until SIGTERM; `drain_seconds` is a whole number, or nothing for long enough."""
    code = _run(Path(folder), slot, int(drain_seconds) if drain_seconds else None)
    sys.stdout.flush()
    os._exit(code)


def _run(folder: Path, slot: str, drain_seconds: int | None) -> int:
    log.configure(form="json")
    database = open_database("sqlite", data_dir=folder)

    def note(what: str) -> str:
        with (folder / "steps").open("a") as steps:
            steps.write(f"{what} {slot}\n")
        return what

    def second(name: str) -> str:
        note(f"{name}:second:begin")
        pause = threading.Event()
        while not (folder / "go").exists():
            pause.wait(0.02)  # another process makes the file
        return note(f"{name}:second:end")

    def count(name: str) -> str:
        run_step("first", lambda: note(f"{name}:first"))
        run_step("second", lambda: second(name))
        return run_step("third", lambda: note(f"{name}:third"))

    engine_module._IDLE_SECONDS = IDLE_SECONDS  # type: ignore[misc]
    engine = Engine(
        database,
        slot=slot,
        workflows={"count": count},
        queues=QUEUES,
        sweep_seconds=SWEEP_SECONDS,
    )
    stop = StopRequest()
    signal.signal(signal.SIGTERM, lambda *_: stop.make())
    try:
        engine.start()
    except StateError as error:
        print(error, file=sys.stderr)  # noqa: T201 - what the test reads
        return 1
    print("ready", flush=True)  # noqa: T201 - what the test waits for
    stop.wait()
    engine.stop(drain_seconds=10 if drain_seconds is None else drain_seconds)
    database.close()
    if drain_seconds is not None:
        (folder / "go").touch()
        for thread in threading.enumerate():
            if thread.name.startswith("dbos-executor"):
                thread.join(10)
    return 0
