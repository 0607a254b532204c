"""The node's receiver with its registry and database, without the stages behind it.

    python -m benchmarks.receive.our_receiver FOLDER DATA_PATH [PROCESSES]

Prints the port, and serves until its standard input ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dicomnode import log
from dicomnode.config import CompletionConfig, ReceiveConfig
from dicomnode.database import open_database
from dicomnode.receive.scp import StorageSCP
from dicomnode.series.registry import SeriesRegistry
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine

TITLE = "BENCH"
PIPELINE = "bench"


def main() -> None:
    folder, data_path = Path(sys.argv[1]), sys.argv[2]
    log.configure(form="json", level="warning")
    database = open_database("sqlite", data_dir=folder)
    store = InstanceStore(folder, reserve_bytes=0)
    # So long that no series is closed while the clock runs.
    completion = {PIPELINE: CompletionConfig(quiet_seconds=3600.0)}
    registry = SeriesRegistry(
        database, completion=completion, submit=lambda _transaction, _revision: None
    )
    registry.restore(store.scan())
    registry.start()
    receiver = StorageSCP(
        ReceiveConfig(port=0, data_path=data_path, max_associations=100),
        pipelines={TITLE: PIPELINE},
        store=store,
        quarantine=Quarantine(folder),
        sink=registry,
    )
    receiver.start()
    print(receiver.port, flush=True)
    sys.stdin.read()
    receiver.stop(5.0)
    registry.stop()
    database.close()


if __name__ == "__main__":
    main()
