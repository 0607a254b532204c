"""A C-STORE sender by hand that knows of every instance whether it was acknowledged."""

from __future__ import annotations

import hashlib
import socket
import struct
from dataclasses import dataclass

from dicomnode.spool.digest import Digest

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
P_DATA, RELEASE_RQ = 0x04, 0x05
COMMAND, LAST = 0x01, 0x02


@dataclass(frozen=True)
class Instance:
    """A CT instance with nothing in it but UIDs and so many bytes."""

    sop_instance_uid: str
    series_instance_uid: str
    pixel_bytes: int = 30_000

    @property
    def data_set(self) -> bytes:
        pixels = hashlib.shake_128(self.sop_instance_uid.encode()).digest(self.pixel_bytes)
        return b"".join(
            (
                explicit(0x0008, 0x0016, b"UI", CT.encode()),
                explicit(0x0008, 0x0018, b"UI", self.sop_instance_uid.encode()),
                explicit(0x0020, 0x000D, b"UI", b"1.2.3"),
                explicit(0x0020, 0x000E, b"UI", self.series_instance_uid.encode()),
                struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, len(pixels)) + pixels,
            )
        )

    @property
    def digest(self) -> str:
        return Digest(self.data_set).hexdigest()


def explicit(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    value += b"\x00" * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def element(number: int, value: bytes) -> bytes:
    """An element of a command set: implicit VR little endian."""
    value += b"\x00" * (len(value) % 2)
    return struct.pack("<HHL", 0, number, len(value)) + value


def command_set(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return element(0x0000, struct.pack("<L", len(body))) + body


def store_rq(sop_instance_uid: str, *, sop_class_uid: str = CT, message_id: int = 7) -> bytes:
    return command_set(
        element(0x0002, sop_class_uid.encode()),
        element(0x0100, struct.pack("<H", 0x0001)),
        element(0x0110, struct.pack("<H", message_id)),
        element(0x0700, struct.pack("<H", 0)),
        element(0x0800, struct.pack("<H", 1)),
        element(0x1000, sop_instance_uid.encode()),
    )


def fragment(content: bytes, control: int, context_id: int = 1) -> bytes:
    """A presentation data value item (PS3.8 9.3.5.1)."""
    return struct.pack(">LBB", len(content) + 2, context_id, control) + content


def pdu(content: bytes, kind: int = P_DATA) -> bytes:
    return struct.pack(">BBL", kind, 0, len(content)) + content


def store_message(instance: Instance, *, longest: int = 16_384) -> bytes:
    """All PDUs of a C-STORE-RQ, each with one fragment."""
    data_set, step = instance.data_set, longest - 6
    parts = [data_set[begin : begin + step] for begin in range(0, len(data_set), step)]
    pdus = [pdu(fragment(store_rq(instance.sop_instance_uid), COMMAND | LAST))]
    pdus += [pdu(fragment(part, LAST if part is parts[-1] else 0)) for part in parts]
    return b"".join(pdus)


class AssociationRejected(ConnectionError):
    """A-ASSOCIATE-RJ; a later attempt may be accepted."""


def _check_accepted(kind: int) -> None:
    if kind == 0x03:
        raise AssociationRejected
    assert kind == 0x02, f"the association was not accepted: PDU type {kind:02X}H"


class RawAssociation:
    """An association in one presentation context: CT, explicit VR little endian."""

    def __init__(
        self, port: int, called: str, *, longest: int = 16_384, seconds: float = 30.0, tls=None
    ):
        def item(kind: int, content: bytes) -> bytes:
            return struct.pack(">BBH", kind, 0, len(content)) + content

        context = struct.pack(">BBBB", 1, 0, 0, 0)
        context += item(0x30, CT.encode()) + item(0x40, EXPLICIT.encode())
        user = item(0x51, struct.pack(">L", longest)) + item(0x52, b"1.2.3.4")
        variable = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
        body = struct.pack(">HH", 1, 0) + called.encode().ljust(16) + b"RAW".ljust(16)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket)
        try:
            self.send(pdu(body + bytes(32) + variable, kind=0x01))
            kind, _ = self.receive()
            _check_accepted(kind)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def receive(self) -> tuple[int, bytes]:
        """Return type and content of the next PDU."""
        kind, _, length = struct.unpack(">BBL", self._exactly(6))
        return kind, self._exactly(length)

    def status(self) -> int:
        """Return the status of the response that comes next, in one fragment."""
        kind, content = self.receive()
        assert kind == P_DATA, f"wanted a response, found a PDU of type {kind:02X}H"
        at = content.index(struct.pack("<HHL", 0, 0x0900, 2)) + 8
        return int(struct.unpack_from("<H", content, at)[0])

    def store(self, instance: Instance) -> int:
        self.send(store_message(instance))
        return self.status()

    def release(self) -> None:
        self.send(pdu(bytes(4), kind=RELEASE_RQ))
        kind, _ = self.receive()
        assert kind == 0x06, f"wanted A-RELEASE-RP, found a PDU of type {kind:02X}H"

    def _exactly(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            chunk = self.socket.recv(count - len(content))
            if not chunk:
                raise ConnectionResetError("the peer closed the connection")
            content += chunk
        return content
