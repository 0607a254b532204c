"""PDUs and DIMSE messages made by hand, well-formed unless told otherwise (PS3.8 9.3, PS3.7 E)."""

from __future__ import annotations

import socket
import struct

CT = "1.2.840.10008.5.1.4.1.1.2"
COMMITMENT = "1.2.840.10008.1.20.1"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"

RELEASE_RQ = struct.pack(">BBLL", 0x05, 0, 4, 0)
ABORT = struct.pack(">BBLL", 0x07, 0, 4, 0)


def pdu(kind: int, content: bytes, *, length: int | None = None) -> bytes:
    return struct.pack(">BBL", kind, 0, len(content) if length is None else length) + content


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def associate_rq(
    *, called: bytes = b"CHEST", calling: bytes = b"WIRE", contexts: tuple[str, ...] = (CT,)
) -> bytes:
    variable = item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, sop_class in enumerate((*contexts, VERIFICATION)):
        content = struct.pack(">BBBB", 2 * number + 1, 0, 0, 0)
        content += item(0x30, sop_class.encode()) + item(0x40, EXPLICIT.encode())
        variable += item(0x20, content)
    variable += item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3.4"))
    titles = called.ljust(16) + calling.ljust(16)
    return pdu(0x01, struct.pack(">HH", 1, 0) + titles + bytes(32) + variable)


def pdv(control: int, fragment: bytes, *, context_id: int = 1) -> bytes:
    return struct.pack(">LBB", len(fragment) + 2, context_id, control) + fragment


def element(element_number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0x0000, element_number, len(value)) + value


def command(field: int, *, uid: str = "1.2.3.4", has_data: bool = True, **more: bytes) -> bytes:
    """Encode a command set; `more` replaces elements by their numbers (``e0100=...``)."""
    elements = {
        0x0002: CT.encode().ljust(26, b"\0"),
        0x0100: struct.pack("<H", field),
        0x0110: struct.pack("<H", 1),
        0x0700: struct.pack("<H", 0),
        0x0800: struct.pack("<H", 1 if has_data else 0x0101),
        0x1000: uid.encode() + b"\0" * (len(uid) % 2),
    } | {int(name[1:], 16): value for name, value in more.items()}
    encoded = b"".join(element(number, elements[number]) for number in sorted(elements))
    return element(0x0000, struct.pack("<L", len(encoded))) + encoded


def c_store(data_set: bytes, *, uid: str, fragment_bytes: int = 16000) -> bytes:
    """Return the P-DATA PDUs of a C-STORE-RQ of CT."""
    content = pdu(0x04, pdv(0x03, command(0x0001, uid=uid)))
    for begin in range(0, max(len(data_set), 1), fragment_bytes):
        part = data_set[begin : begin + fragment_bytes]
        last = 0x02 if begin + fragment_bytes >= len(data_set) else 0x00
        content += pdu(0x04, pdv(last, part))
    return content


def ct_data_set(uid: str, *, series: str = "1.2.3.1", pixels: int = 64) -> bytes:
    """Return a small CT data set, explicit VR little endian."""

    def short(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        padded = value + (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr, len(padded)) + padded

    return (
        short(0x0008, 0x0016, b"UI", CT.encode())
        + short(0x0008, 0x0018, b"UI", uid.encode())
        + short(0x0008, 0x0060, b"CS", b"CT")
        + short(0x0020, 0x000D, b"UI", b"1.2.3")
        + short(0x0020, 0x000E, b"UI", series.encode())
        + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, pixels)
        + bytes(pixels)
    )


def connect(port: int, *, seconds: float = 20.0) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port))
    peer.settimeout(seconds)
    return peer


def open_association(port: int, **request: object) -> socket.socket:
    """Open an association and return the socket after the A-ASSOCIATE-AC."""
    peer = connect(port)
    peer.sendall(associate_rq(**request))  # type: ignore[arg-type]
    kind, _ = read_pdu(peer)
    assert kind == 0x02, kind
    return peer


def read_pdu(peer: socket.socket) -> tuple[int, bytes]:
    """Read one PDU; type 0 stands for the end of the connection."""
    header = _exactly(peer, 6)
    if len(header) < 6:
        return 0, b""
    kind, _, length = struct.unpack(">BBL", header)
    return kind, _exactly(peer, length)


def read_to_end(peer: socket.socket) -> list[int]:
    """Read until the peer closes; return the types of the PDUs that came."""
    kinds = []
    while True:
        try:
            kind, _ = read_pdu(peer)
        except ConnectionError:
            return kinds
        if kind == 0:
            return kinds
        kinds.append(kind)


def status_of(response: bytes) -> int:
    """Return the status in the P-DATA of a C-STORE-RSP."""
    at = response.index(struct.pack("<HHL", 0x0000, 0x0900, 2))
    return int(struct.unpack_from("<H", response, at + 8)[0])


def _exactly(peer: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        chunk = peer.recv(count - len(content))
        if not chunk:
            break
        content += chunk
    return content
