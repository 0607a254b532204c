"""A sender that costs next to nothing: PDUs prepared in memory, written as the socket takes them.

    python -m benchmarks.receive.fast_sender HOST PORT CALLED_AE_TITLE FILE...

Waits for a line on standard input, sends, and prints when the first byte of the first C-STORE-RQ
went and when the last answer came, in seconds of the machine's clock since it started.  Ends with 1
if any status was not 0x0000.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from pathlib import Path

from pydicom import dcmread

from tests.support.raw_sender import COMMAND, LAST, P_DATA, RELEASE_RQ, fragment, pdu, store_rq

LONGEST_PDU = 131_072


def main() -> None:
    host, port, called = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    peer = socket.create_connection((host, port))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    longest = _associate(peer, called)
    messages = [_message(Path(name), number, longest) for number, name in enumerate(sys.argv[4:])]
    print("ready", flush=True)
    sys.stdin.readline()
    begin = time.monotonic()
    failed = 0
    for message in messages:
        peer.sendall(message)
        failed += _status(peer) != 0x0000
    end = time.monotonic()
    peer.sendall(pdu(bytes(4), RELEASE_RQ))
    _pdu(peer)
    print(f"{begin:.6f} {end:.6f}", flush=True)
    sys.exit(1 if failed else 0)


def _associate(peer: socket.socket, called: str) -> int:
    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(content)) + content

    context = struct.pack(">BBBB", 1, 0, 0, 0)
    context += item(0x30, b"1.2.840.10008.5.1.4.1.1.2") + item(0x40, b"1.2.840.10008.1.2.1")
    user = item(0x51, struct.pack(">L", LONGEST_PDU)) + item(0x52, b"1.2.3.4")
    variable = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    titles = called.encode().ljust(16) + b"BENCHSCU".ljust(16)
    body = struct.pack(">HH", 1, 0) + titles + bytes(32) + variable
    peer.sendall(pdu(body, 0x01))
    kind, answer = _pdu(peer)
    if kind != 0x02:
        raise SystemExit(f"the association was not accepted: PDU type {kind:02X}H")
    found = answer.index(b"\x51\x00\x00\x04")
    (longest,) = struct.unpack_from(">L", answer, found + 4)
    return min(longest or LONGEST_PDU, LONGEST_PDU)


def _message(path: Path, number: int, longest: int) -> bytes:
    meta = dcmread(path, stop_before_pixels=True).file_meta
    content = path.read_bytes()
    data_set = content[144 + meta.FileMetaInformationGroupLength :]
    command = store_rq(
        meta.MediaStorageSOPInstanceUID,
        sop_class_uid=meta.MediaStorageSOPClassUID,
        message_id=number % 65535 + 1,
    )
    pdus = [pdu(fragment(command, COMMAND | LAST))]
    step = longest - 6
    for begin in range(0, len(data_set), step):
        last = LAST if begin + step >= len(data_set) else 0x00
        pdus.append(pdu(fragment(data_set[begin : begin + step], last)))
    return b"".join(pdus)


def _status(peer: socket.socket) -> int:
    kind, body = _pdu(peer)
    if kind != P_DATA:
        return -1
    # The last: a message ID may look like it.
    found = body.rindex(struct.pack("<HHL", 0, 0x0900, 2))
    return int(struct.unpack_from("<H", body, found + 8)[0])


def _pdu(peer: socket.socket) -> tuple[int, bytes]:
    kind, _, length = struct.unpack(">BBL", _exactly(peer, 6))
    return kind, _exactly(peer, length)


def _exactly(peer: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        chunk = peer.recv(count - len(content))
        if not chunk:
            raise SystemExit("the connection was closed")
        content += chunk
    return content


if __name__ == "__main__":
    main()
