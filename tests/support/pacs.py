"""A storage SCP for tests that can be told to misbehave.  Nothing of the product is in it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom.dataset import Dataset
from pydicom.filewriter import write_file_meta_info
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification
from pynetdicom.transport import ThreadedAssociationServer

from dicomnode.standard.ae import AEAddress

EVERY_TRANSFER_SYNTAX = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.90",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One instance that a peer got."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    data_set: bytes
    file: bytes

    def save(self, folder: Path) -> Path:
        """Write it as a DICOM file, for tools that want one."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.sop_instance_uid}.dcm"
        path.write_bytes(self.file)
        return path


class FlakyPacs:
    """A PACS on a free port; it accepts until told otherwise.  Use it as a context manager.

    Each way to misbehave holds for the next `times` occasions, or for good when that is None.
    """

    def __init__(
        self,
        *,
        ae_title: str = "PACS",
        sop_classes: Sequence[str] | None = None,
        transfer_syntaxes: Sequence[str] = EVERY_TRANSFER_SYNTAX,
    ) -> None:
        self.ae_title = ae_title
        self.associations = 0
        """How many were requested."""
        self.proposed: list[tuple[str, tuple[str, ...]]] = []
        """Abstract syntax and transfer syntaxes of every presentation context, in order."""
        self.attempts = 0
        """How many C-STORE requests came."""
        self.received: list[Received] = []
        self._ae = AE(ae_title=ae_title)
        self._ae.add_supported_context(Verification)
        for each in sop_classes or [c.abstract_syntax for c in AllStoragePresentationContexts]:
            self._ae.add_supported_context(each, list(transfer_syntaxes))
        self._server: Any = None
        self._on_association: tuple[str, bool] | None = None
        self._on_store: tuple[str, int] | None = None
        self._left: dict[str, int | None] = {}
        self._release = threading.Event()
        self._changed = threading.Condition()

    def start(self, port: int = 0) -> None:
        """Listen; `port` brings it back to where it was before `stop`."""
        self._release.clear()
        self._server = self._ae.make_server(
            ("127.0.0.1", port),
            evt_handlers=[
                (evt.EVT_REQUESTED, self._requested),
                (evt.EVT_C_STORE, self._stored),
            ],
            server_class=_Server,
        )
        self._ae._servers.append(self._server)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Drop everything, stalled peers too."""
        self._release.set()
        if self._server is not None:
            for assoc in self._server.active_associations:
                assoc.abort()
            self._server.shutdown()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def address(self) -> AEAddress:
        return AEAddress(self.ae_title, "127.0.0.1", self.port)

    def accept(self) -> None:
        """Behave again."""
        self._on_association = self._on_store = None

    def reject(self, *, transient: bool, times: int | None = None) -> None:
        """Reject associations: local limit exceeded, or calling AE title not recognized."""
        self._on_association = ("reject", transient)
        self._left["association"] = times

    def refuse(self, status: int, *, times: int | None = None) -> None:
        """Answer C-STORE with a status and keep nothing, unless it is a warning (0xBxxx)."""
        self._on_store = ("refuse", status)
        self._left["store"] = times

    def abort_in_store(self, *, times: int | None = None) -> None:
        """Abort the association instead of answering C-STORE."""
        self._on_store = ("abort", 0)
        self._left["store"] = times

    def stall(self, *, times: int | None = None) -> None:
        """Leave C-STORE without an answer until `stop`."""
        self._on_store = ("stall", 0)
        self._left["store"] = times

    def uids(self) -> list[str]:
        """SOP Instance UIDs of what it got, in order."""
        with self._changed:
            return [each.sop_instance_uid for each in self.received]

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Received]:
        """Wait until `count` instances are there and return them."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.received) >= count, timeout)
            assert arrived, f"wanted {count} instances, found {len(self.received)}"
            return list(self.received)

    def _still(self, occasion: str) -> bool:
        left = self._left.get(occasion)
        if left is None:
            return True
        self._left[occasion] = left - 1
        return left > 0

    def _requested(self, event: evt.Event) -> None:
        self.associations += 1
        self.proposed += [
            (str(each.abstract_syntax), tuple(map(str, each.transfer_syntax)))
            for each in event.assoc.requestor.primitive.presentation_context_definition_list
        ]
        if self._on_association is not None and self._still("association"):
            code = (2, 3, 2) if self._on_association[1] else (1, 1, 3)
            event.assoc.acse.send_reject(*code)
            event.assoc.kill()

    def _stored(self, event: evt.Event) -> int:
        self.attempts += 1
        status = 0x0000
        if self._on_store is not None and self._still("store"):
            kind, status = self._on_store
            if kind == "abort":
                event.assoc.abort()
                return 0xC000
            if kind == "stall":
                self._release.wait(120)
                return 0xC000
            if not 0xB000 <= status <= 0xBFFF:
                return status
        data_set = event.encoded_dataset(include_meta=False)
        with self._changed:
            self.received.append(
                Received(
                    sop_class_uid=str(event.request.AffectedSOPClassUID),
                    sop_instance_uid=str(event.request.AffectedSOPInstanceUID),
                    transfer_syntax_uid=str(event.context.transfer_syntax),
                    calling_ae_title=str(event.assoc.requestor.ae_title),
                    data_set=data_set,
                    file=_part10(event.file_meta, data_set),
                )
            )
            self._changed.notify_all()
        return status


class _Server(ThreadedAssociationServer):
    def get_request(self):
        accepted, address = super().get_request()
        return _Connection(fileno=accepted.detach()), address


class _Connection(socket.socket):
    """pynetdicom leaves a socket open that the peer has shut down first; pytest finds it."""

    def shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError):
            super().shutdown(how)


def _part10(meta: Dataset, data_set: bytes) -> bytes:
    buffer = BytesIO()
    write_file_meta_info(buffer, meta)
    return b"\x00" * 128 + b"DICM" + buffer.getvalue() + data_set
