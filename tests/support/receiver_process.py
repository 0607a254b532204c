"""The node's receiver with its registry and database, without the stages behind it.

    python -m tests.support.receiver_process FOLDER DATA_PATH          one, until input ends
    python -m tests.support.receiver_process FOLDER DATA_PATH --fork   one more for each line

Prints ``port`` and the port of each, with ``--fork`` also ``pid`` and its identifier.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

from dicomnode import log
from dicomnode.config import CompletionConfig, ReceiveConfig
from dicomnode.database import open_database
from dicomnode.database.series_rows import list_keys
from dicomnode.receive.scp import StorageSCP
from dicomnode.series.registry import SeriesRegistry
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine

TITLE = "BENCH"
PIPELINE = "bench"


def main() -> None:
    folder, data_path = Path(sys.argv[1]), sys.argv[2]
    log.configure(form="json", level="error")
    if "--fork" not in sys.argv:
        # So long that no series is closed while a clock runs.
        serve(folder, data_path, quiet_seconds=3600.0)
        return
    # All is imported already: a receiver is there in milliseconds.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        if (child := os.fork()) == 0:
            serve(folder, data_path, quiet_seconds=0.1)
            os._exit(0)
        tell("pid", child)


def serve(folder: Path, data_path: str, *, quiet_seconds: float) -> None:
    database = open_database("sqlite", data_dir=folder)
    store = InstanceStore(folder, reserve_bytes=0)
    registry = SeriesRegistry(
        database,
        completion={PIPELINE: CompletionConfig(quiet_seconds=quiet_seconds)},
        submit=lambda _transaction, _revision: None,
    )
    with database.begin() as transaction:
        known = list_keys(transaction)
    registry.restore(store.scan(is_known=known.__contains__), source_ae_title=store.source_ae_title)
    registry.start()
    receiver = StorageSCP(
        ReceiveConfig(port=0, data_path=data_path, max_associations=100),
        pipelines={TITLE: PIPELINE},
        store=store,
        quarantine=Quarantine(folder),
        sink=registry,
    )
    receiver.start()
    gc.freeze()
    tell("port", receiver.port)
    sys.stdin.read()
    receiver.stop(5.0)
    registry.stop()
    database.close()


def tell(what: str, number: int) -> None:
    """One write, so that the lines of two processes do not mix."""
    os.write(sys.stdout.fileno(), f"{what} {number}\n".encode())


if __name__ == "__main__":
    main()
