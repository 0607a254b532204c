"""The storage SCP alone, with a sink that remembers what it is told."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom import AE

from dicomnode.config import ReceiveConfig
from dicomnode.receive.scp import StorageSCP
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine
from dicomnode.standard.sop_classes import CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN

PIPELINES = {"CHEST": "chest", "LUNG": "lung"}


@dataclass
class RecordingSink:
    """Keeps what it is told, in order."""

    events: list[tuple[Any, ...]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def _add(self, *event: Any) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def association_opened(self, association_id, *, pipeline, calling_ae_title):
        self._add("opened", association_id, pipeline, calling_ae_title)

    def instance_stored(self, pipeline, ref, *, calling_ae_title, association_id):
        self._add("stored", association_id, pipeline, ref, calling_ae_title)

    def association_ended(self, association_id, *, pipeline, how):
        self._add("ended", association_id, pipeline, how)

    def refs(self) -> list[Any]:
        with self.changed:
            return [each[3] for each in self.events if each[0] == "stored"]

    def wait_for(self, kind: str, count: int = 1, timeout: float = 10.0) -> list[tuple[Any, ...]]:
        def found() -> list[tuple[Any, ...]]:
            return [each for each in self.events if each[0] == kind]

        with self.changed:
            assert self.changed.wait_for(lambda: len(found()) >= count, timeout), self.events
            return found()


@dataclass
class Receiver:
    scp: StorageSCP
    store: InstanceStore
    quarantine: Quarantine
    sink: RecordingSink

    @property
    def port(self) -> int:
        return self.scp.port

    def associate(self, *contexts: tuple[str, str], called: str = "CHEST", **more: Any) -> Any:
        ae = AE(ae_title="TEST")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 20
        for sop_class, syntax in contexts or ((CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN),):
            ae.add_requested_context(sop_class, syntax)
        return ae.associate("127.0.0.1", self.port, ae_title=called, **more)


@contextmanager
def running_receiver(
    folder: Path,
    *,
    reserve_bytes: int = 0,
    sink: Any = None,
    pipelines: Mapping[str, str] = PIPELINES,
    more: Mapping[str, Any] | None = None,
    **config: Any,
):
    """Run a receiver on a free port; `more` goes to `StorageSCP`, the rest is its configuration."""
    store = InstanceStore(folder / "spool", reserve_bytes=reserve_bytes)
    quarantine = Quarantine(folder / "spool")
    sink = sink or RecordingSink()
    settings = ReceiveConfig(**({"port": 0, "headroom_bytes": 0} | config))
    scp = StorageSCP(
        settings,
        pipelines=pipelines,
        store=store,
        quarantine=quarantine,
        sink=sink,
        **(more or {}),
    )
    scp.start()
    try:
        yield Receiver(scp, store, quarantine, sink)
    finally:
        scp.stop(0.0)
