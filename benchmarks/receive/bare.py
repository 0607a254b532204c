"""The least that any receiver in Python must do: what ours is to be measured against.

    python -m benchmarks.receive.bare FOLDER

Prints ``port`` and the port.  One association at a time: each data set goes from the socket into a
file, is hashed, synced and renamed, its folder is synced, and Success is answered.  Nothing is
checked, identified, limited or recorded: who sends anything but C-STORE of CT as `fast_sender` does
is not served.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import sys
from pathlib import Path

from blake3 import blake3

from tests.support.raw_sender import (
    COMMAND,
    LAST,
    P_DATA,
    RELEASE_RQ,
    command_set,
    element,
    fragment,
    pdu,
)

LONGEST_PDU = 131_072
PDU_HEADER, FRAGMENT_HEADER = struct.Struct(">BBL"), struct.Struct(">LBB")
_US = struct.Struct("<H")


def main() -> None:
    folder = Path(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"port {listener.getsockname()[1]}", flush=True)
    while True:
        peer, _ = listener.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with peer:
            serve(peer, folder)


def serve(peer: socket.socket, folder: Path) -> None:
    """Take one association from its request to its release."""
    _pdu(peer)
    peer.sendall(accepted())
    into = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    block = memoryview(bytearray(1 << 21))
    for number in itertools.count():
        kind, command = _pdu(peer)
        if kind != P_DATA:
            peer.sendall(pdu(bytes(4), RELEASE_RQ + 1))
            break
        descriptor = os.open(f"{number}.part", os.O_RDWR | os.O_CREAT | os.O_EXCL, dir_fd=into)
        os.write(descriptor, bytes(400))  # in place of the file meta information
        data_set = read_data_set(peer, block)
        os.write(descriptor, data_set)
        digest = blake3(data_set).hexdigest()
        os.rename(f"{number}.part", f"{digest}.dcm", src_dir_fd=into, dst_dir_fd=into)
        os.fsync(descriptor)
        os.fsync(into)
        os.close(descriptor)
        peer.sendall(success(command))
    os.close(into)


def read_data_set(peer: socket.socket, block: memoryview) -> memoryview:
    """Read a data set, each PDU of one fragment, without a copy."""
    header = memoryview(_exactly(peer, 12))
    end = 0
    while True:
        length, _, control = FRAGMENT_HEADER.unpack_from(header, PDU_HEADER.size)
        begin, end = end, end + length - 2
        if control & LAST:
            peer.recv_into(block[begin:end], end - begin, socket.MSG_WAITALL)
            return block[:end]
        peer.recvmsg_into([block[begin:end], header], 0, socket.MSG_WAITALL)


def accepted() -> bytes:
    """Return the A-ASSOCIATE-AC for one presentation context, explicit VR little endian."""

    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(content)) + content

    user = item(0x51, struct.pack(">L", LONGEST_PDU)) + item(0x52, b"1.2.3.4")
    context = item(0x21, bytes((1, 0, 0, 0)) + item(0x40, b"1.2.840.10008.1.2.1"))
    body = struct.pack(">HH", 1, 0) + bytes(64)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + context + item(0x50, user)
    return pdu(body, 0x02)


def success(command: bytearray) -> bytes:
    """Return the P-DATA-TF with the C-STORE-RSP to a C-STORE-RQ."""
    begin = command.index(struct.pack("<HHL", 0, 0x0110, 2)) + 8
    answer = command_set(
        element(0x0100, _US.pack(0x8001)),
        element(0x0120, bytes(command[begin : begin + 2])),
        element(0x0800, _US.pack(0x0101)),
        element(0x0900, _US.pack(0x0000)),
    )
    return pdu(fragment(answer, COMMAND | LAST))


def _pdu(peer: socket.socket) -> tuple[int, bytearray]:
    kind, _, length = PDU_HEADER.unpack(_exactly(peer, PDU_HEADER.size))
    return kind, _exactly(peer, length)


def _exactly(peer: socket.socket, count: int) -> bytearray:
    content = bytearray(count)
    if peer.recv_into(content, count, socket.MSG_WAITALL) < count:
        raise SystemExit("the connection was closed")
    return content


if __name__ == "__main__":
    main()
