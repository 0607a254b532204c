"""Peers that send anything: the receiver ends their associations, and gives everything back.

Inputs are made by hypothesis with a fixed budget; `tests/fuzz` has the long campaigns.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import socket
import struct
import tarfile
import threading
import time
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pynetdicom.association import Association

from dicomnode.receive.store import Caller, StoreRequest
from dicomnode.standard.sop_classes import CT_TRANSFER_SYNTAXES
from tests.support.node import wait_until
from tests.support.scp import running_receiver
from tests.support.wire import (
    ABORT,
    COMMITMENT,
    CT,
    RELEASE_RQ,
    associate_rq,
    c_store,
    command,
    connect,
    ct_data_set,
    item,
    open_association,
    pdu,
    pdv,
    read_pdu,
    read_to_end,
    status_of,
)

CORPUS = Path(__file__).resolve().parents[1] / "data" / "fuzz"

A_ABORT, A_ASSOCIATE_AC, P_DATA_TF = 0x07, 0x02, 0x04

BUDGET = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,  # the suite is the same on every run; the campaigns are not
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

ITEMS = [0x10, 0x20, 0x30, 0x40, 0x50, 0x51, 0x55, 0x58, 0x99]
ELEMENTS = ["e0002", "e0100", "e0110", "e0120", "e0700", "e0800", "e0900", "e1000", "e1008"]

SHORT = {
    "acse_timeout_seconds": 1.0,
    "dimse_timeout_seconds": 1.0,
    "network_timeout_seconds": 1.0,
    "max_associations": 64,
}


@pytest.fixture(scope="module", autouse=True)
def _only_what_is_made_here_is_collected():
    """What a whole test run has in memory takes half a second to look through."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", params=["fast", "pynetdicom"])
def data_path(request):
    return request.param


@pytest.fixture(scope="module")
def receiver(tmp_path_factory, data_path):
    folder = tmp_path_factory.mktemp("hostile")
    with running_receiver(folder, data_path=data_path, **SHORT) as receiver:
        yield receiver


def serves(receiver, *, uid="1.2.3.100"):
    """Whether an honest peer is served."""
    with open_association(receiver.port) as peer:
        peer.sendall(c_store(ct_data_set(uid), uid=uid))
        kind, content = read_pdu(peer)
        peer.sendall(RELEASE_RQ)
        kinds = read_to_end(peer)
    return (kind, status_of(content), kinds) == (P_DATA_TF, 0x0000, [0x06])


def open_files():
    """What the descriptors of this process stand for, but for folders: the store keeps some."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if not each.is_dir():
                found.add(str(each.readlink()))
    return found


def associations_of(port):
    """Threads of the library that hold a connection to a port."""
    return [
        each
        for each in threading.enumerate()
        if isinstance(each, Association) and each.acceptor.port == port
    ]


def others_sockets(port):
    """Sockets of connections that have nothing to do with a port: other peers of this process."""
    found = set()
    for table in ("tcp", "tcp6"):
        rows = (line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        found |= {
            f"socket:[{row[9]}]"
            for row in rows
            if f"{port:04X}" not in {row[1].rpartition(":")[2], row[2].rpartition(":")[2]}
        }
    rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return found | {f"socket:[{row[6]}]" for row in rows}


def new_resources(port, threads, files):
    """Threads, files and sockets that were not there before, but for others' connections."""

    def found():
        now = {each for each in open_files() - files if each.startswith(("socket:", "/"))}
        return {*(set(threading.enumerate()) - threads), *(now - others_sockets(port))}

    if found():
        gc.collect()  # pynetdicom leaves some to it
    return found()


@pytest.fixture
def nothing_is_left(receiver):
    """Afterwards an honest peer is served, and no thread, socket or association is left."""
    threads, files = set(threading.enumerate()), open_files()
    yield
    assert serves(receiver)
    wait_until(lambda: receiver.scp.open_associations() == 0, 10, "all have ended")
    left = set()

    def is_nothing_left():
        left.clear()
        left.update(new_resources(receiver.port, threads, files))
        return not left

    try:
        wait_until(is_nothing_left, 10, "nothing was left")
    except AssertionError as error:
        raise AssertionError(f"{error}: {left}") from None


def send(receiver, content):
    """Send bytes, close, and hear what came back."""
    with connect(receiver.port) as peer, contextlib.suppress(ConnectionError):
        peer.sendall(content)
        with contextlib.suppress(OSError):  # reset already, which it tells in its own way
            peer.shutdown(socket.SHUT_WR)
        return read_to_end(peer)
    return []


# -- PDUs


@pytest.mark.usefixtures("nothing_is_left")
@BUDGET
@given(content=st.binary(max_size=300))
def test_any_bytes(receiver, content):
    assert A_ASSOCIATE_AC not in send(receiver, content)


@pytest.mark.usefixtures("nothing_is_left")
@BUDGET
@given(data=st.data())
def test_a_request_with_bytes_changed(receiver, data):
    content = bytearray(associate_rq(contexts=(CT, COMMITMENT)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(6, len(content) - 1))] = data.draw(st.integers(0, 255))
    send(receiver, bytes(content))


@pytest.mark.usefixtures("nothing_is_left")
@BUDGET
@given(
    items=st.lists(
        st.tuples(
            st.sampled_from([0x10, 0x20, 0x30, 0x40, 0x50, 0x51, 0x55, 0x58, 0x99]),
            st.binary(max_size=40),
        ),
        max_size=6,
    )
)
def test_a_request_with_other_items(receiver, items):
    fixed = associate_rq()[6:74]
    variable = b"".join(item(kind, content) for kind, content in items)
    send(receiver, pdu(0x01, fixed + variable))


@pytest.mark.usefixtures("nothing_is_left")
def test_a_context_without_abstract_syntax_is_answered_with_an_abort(receiver):
    context = item(0x20, bytes((7, 0, 0, 0)) + item(0x40, b"1.2.840.10008.1.2.1"))
    content = associate_rq()[6:] + context
    with connect(receiver.port) as peer:
        peer.sendall(pdu(0x01, content))

        assert read_to_end(peer) == [A_ABORT]


@pytest.mark.usefixtures("nothing_is_left")
@BUDGET
@given(
    kinds=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    content=st.binary(max_size=60),
    error=st.integers(-3, 3),
)
def test_any_pdus_on_an_association(receiver, kinds, content, error):
    stream = b"".join(pdu(kind, content, length=max(len(content) + error, 0)) for kind in kinds)
    send(receiver, associate_rq() + stream)


def offer_four_gigabytes(receiver, kind, state):
    """Return what came back, when the peer would not have more."""
    endless = struct.pack(">BBL", kind, 0, 0xFFFFFFFF)
    with connect(receiver.port) if state == "before" else open_association(receiver.port) as peer:
        peer.sendall(endless)
        begin = time.monotonic()
        kinds = []
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                peer.sendall(bytes(100_000))
        with contextlib.suppress(ConnectionError):
            kinds = read_to_end(peer)
    assert time.monotonic() - begin < 10
    return kinds


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize("state", ["before", "within"])
def test_a_pdu_of_four_gigabytes_is_not_read(receiver, state):
    kinds = (0x00, 0x01, 0x04, 0x07)

    answers = {kind: offer_four_gigabytes(receiver, kind, state) for kind in kinds}

    assert [each for each in answers.values() if each not in ([A_ABORT], [])] == [], answers


@pytest.mark.usefixtures("nothing_is_left")
def test_a_pdu_over_the_negotiated_length_is_answered_with_an_abort(receiver):
    with open_association(receiver.port) as peer:
        peer.sendall(pdu(0x04, b"", length=131_073))

        assert read_to_end(peer) == [A_ABORT]


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize("state", ["before", "within"])
def test_a_pdu_that_comes_byte_by_byte_is_given_up(receiver, state):
    """Each byte is in time, the PDU is not."""
    with connect(receiver.port) if state == "before" else open_association(receiver.port) as peer:
        content = associate_rq() if state == "before" else c_store(bytes(1000), uid="1.2.3")
        begin, pause = time.monotonic(), threading.Event()
        peer.settimeout(0.01)
        kinds = None
        for number in range(len(content)):
            with contextlib.suppress(ConnectionError):
                peer.sendall(content[number : number + 1])
            with contextlib.suppress(TimeoutError):
                kinds = read_to_end(peer)
                break
            pause.wait(0.1)
    assert kinds is not None
    assert 0.5 < time.monotonic() - begin < 5


# -- DIMSE


@pytest.mark.usefixtures("nothing_is_left")
@BUDGET
@given(
    field=st.sampled_from([0x0000, 0x0001, 0x0010, 0x0020, 0x0021, 0x0030, 0x0100, 0x0130, 0x0FFF])
    | st.integers(0, 0xFFFF),
    has_data=st.booleans(),
    replaced=st.dictionaries(
        st.sampled_from(
            ["e0002", "e0100", "e0110", "e0120", "e0700", "e0800", "e0900", "e1000", "e1008"]
        ),
        st.binary(max_size=70).map(lambda value: value + bytes(len(value) % 2)),
        max_size=3,
    ),
    context_id=st.sampled_from([1, 3, 5, 0, 2, 255]),
    data_set=st.binary(max_size=100),
)
def test_any_command(receiver, field, has_data, replaced, context_id, data_set):
    content = pdu(
        0x04, pdv(0x03, command(field, has_data=has_data, **replaced), context_id=context_id)
    )
    content += pdu(0x04, pdv(0x02, data_set, context_id=context_id))
    send(receiver, associate_rq() + content + RELEASE_RQ)


@pytest.mark.usefixtures("nothing_is_left")
@BUDGET
@given(
    fragments=st.lists(
        st.tuples(st.integers(0, 255), st.binary(max_size=50)), min_size=1, max_size=6
    )
)
def test_any_fragments(receiver, fragments):
    content = b"".join(pdu(0x04, pdv(control, value)) for control, value in fragments)
    send(receiver, associate_rq() + content)


@pytest.mark.usefixtures("nothing_is_left")
def test_an_unknown_command_is_answered_with_an_abort(receiver):
    with open_association(receiver.port) as peer:
        peer.sendall(pdu(0x04, pdv(0x03, command(0x7777, has_data=False))))

        assert read_to_end(peer) == [A_ABORT]


@pytest.mark.usefixtures("nothing_is_left")
def test_a_command_without_end_is_answered_with_an_abort(receiver):
    with open_association(receiver.port) as peer:
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                peer.sendall(pdu(0x04, pdv(0x01, bytes(10_000))))

        with contextlib.suppress(ConnectionError):
            assert read_to_end(peer) in ([A_ABORT], [])


def test_a_data_set_without_end_is_not_held(tmp_path, data_path):
    """What is over the limit is read, so that the peer hears the status, and dropped."""
    with (
        running_receiver(tmp_path, data_path=data_path, max_instance_bytes=100_000) as receiver,
        open_association(receiver.port) as peer,
    ):
        before = _resident_bytes()
        peer.sendall(pdu(0x04, pdv(0x03, command(0x0001))))
        part = pdu(0x04, pdv(0x00, bytes(100_000)))
        for _ in range(1500):
            peer.sendall(part)
        peer.sendall(pdu(0x04, pdv(0x02, b"")))
        kind, content = read_pdu(peer)
        grown = _resident_bytes() - before

        assert (kind, status_of(content)) == (P_DATA_TF, 0xA700)
        assert grown < 50_000_000
        peer.sendall(c_store(ct_data_set("1.2.3.4"), uid="1.2.3.4"))
        assert status_of(read_pdu(peer)[1]) == 0x0000


def test_requests_are_read_no_faster_than_they_are_answered(tmp_path, data_path):
    """A peer that waits for no answer fills its own buffers, not our memory."""
    with running_receiver(tmp_path, data_path=data_path) as receiver:
        release = threading.Event()
        begin = receiver.scp._handler.begin

        def slow(command, caller):
            release.wait(10)
            return begin(command, caller)

        receiver.scp._handler.begin = slow
        with open_association(receiver.port) as peer:
            peer.settimeout(0.5)
            message = c_store(ct_data_set("1.2.3.4", pixels=500_000), uid="1.2.3.4")
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 100:
                    peer.sendall(message)
                    sent += 1
            release.set()
        assert sent < 30


@pytest.mark.usefixtures("nothing_is_left")
def test_aborts_and_broken_connections_within_an_instance(receiver):
    content = c_store(ct_data_set("1.2.3.5", pixels=60_000), uid="1.2.3.5")
    for how in ("abort", "close", "reset"):
        for cut in (7, 100, 20_000, len(content) - 20):
            with open_association(receiver.port) as peer:
                peer.sendall(content[:cut])
                if how == "abort":
                    peer.sendall(ABORT)
                elif how == "reset":
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert "1.2.3.5" not in {ref.sop_instance_uid for ref in receiver.sink.refs()}


def test_silent_peers_do_not_keep_others_out(tmp_path, data_path):
    with running_receiver(
        tmp_path, data_path=data_path, **(SHORT | {"max_associations": 4})
    ) as receiver:
        peers = [connect(receiver.port) for _ in range(15)]
        try:
            assert serves(receiver)
        finally:
            for each in peers:
                each.close()


def test_so_many_connections_of_one_peer_and_no_more(tmp_path, data_path):
    with running_receiver(
        tmp_path, data_path=data_path, **(SHORT | {"max_associations": 1})
    ) as receiver:
        peers = [connect(receiver.port) for _ in range(40)]
        try:
            # The first wait for their request until the time is over, the others are closed.
            ends = []
            for each in peers:
                each.settimeout(5)
                begin = time.monotonic()
                with contextlib.suppress(ConnectionError):
                    assert each.recv(1) == b""
                ends.append(time.monotonic() - begin)
            # A connection is closed a little before it counts no more.
            wait_until(lambda: not associations_of(receiver.port), 10, "all have ended")
            assert serves(receiver)
        finally:
            for each in peers:
                each.close()


# -- data sets


def store(receiver, data_set, *, uid="1.2.3.4", syntax="1.2.840.10008.1.2.1"):
    """Store bytes as a CT data set and return the status."""
    return receiver.scp._handler.handle(
        StoreRequest(
            sop_class_uid=CT,
            sop_instance_uid=uid,
            context_sop_class_uid=CT,
            transfer_syntax_uid=syntax,
            data_set=data_set,
        ),
        Caller(
            association_id="fuzz",
            pipeline="chest",
            calling_ae_title="WIRE",
            called_ae_title="CHEST",
            host="127.0.0.1",
        ),
    )


STATUSES = {0x0000, 0xA700, 0xA900, 0xC000}


@settings(BUDGET, max_examples=150)
@given(data=st.data(), syntax=st.sampled_from(CT_TRANSFER_SYNTAXES))
def test_a_data_set_with_bytes_changed(receiver, data, syntax):
    content = bytearray(ct_data_set("1.2.3.4"))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    assert store(receiver, bytes(content), syntax=syntax) in STATUSES - {0xA700}


@settings(BUDGET, max_examples=150)
@given(content=st.binary(max_size=400), syntax=st.sampled_from(CT_TRANSFER_SYNTAXES))
def test_any_data_set(receiver, content, syntax):
    assert store(receiver, content, syntax=syntax) in STATUSES - {0xA700}


@pytest.mark.parametrize(
    "uid",
    ["../../etc/passwd", "1.2.3/../../x", "1.2\x003", "", "1." * 33 + "1", "1.2.3.", ".", "1.02"],
)
def test_what_is_no_uid_becomes_no_path(receiver, uid):
    assert store(receiver, ct_data_set(uid), uid=uid) == 0xC000
    assert store(receiver, ct_data_set("1.2.3.4", series=uid)) == 0xC000


@pytest.mark.parametrize("depth", [10, 200, 5000, 50_000])
def test_sequences_in_sequences(receiver, depth):
    nested = (
        b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    ) * depth
    begin = time.monotonic()

    assert store(receiver, ct_data_set("1.2.3.4")[:60] + nested) == 0xC000
    assert time.monotonic() - begin < 5


def test_a_data_set_that_inflates_without_end(receiver):
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = deflater.compress(b"\x08\x00\x05\x00UN\x00\x00\xff\xff\xff\x7f") + b"".join(
        deflater.compress(bytes(1 << 20)) for _ in range(300)
    )
    before = _peak_bytes()

    assert store(receiver, bomb + deflater.flush(), syntax="1.2.840.10008.1.2.1.99") == 0xC000
    assert _peak_bytes() - before < 150_000_000


@pytest.mark.usefixtures("nothing_is_left")
def test_the_corpus(receiver):
    """Inputs that once did harm, or come close to what did: streams and data sets."""
    streams = sorted(CORPUS.glob("*.pdus"))
    data_sets = sorted(CORPUS.glob("*.dataset"))
    assert streams
    assert data_sets
    for each in streams:
        send(receiver, each.read_bytes())
    for each in data_sets:
        for syntax in CT_TRANSFER_SYNTAXES:
            assert store(receiver, each.read_bytes(), syntax=syntax) in STATUSES - {0xA700}


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.cases
def test_real_malformed_files_get_a_status(receiver, cases):
    folder = cases / "odd" / "malformed"
    contents = [each.read_bytes() for each in sorted(folder.glob("*.dcm"))]
    with tarfile.open(folder / "fuzz-pwnlab.tar.xz") as archive:
        members = [each for each in archive if each.name.endswith(".dcm")]
        contents += [archive.extractfile(each).read() for each in members]
    assert len(contents) > 70
    for content in contents:
        data_set = content[132:] if content[128:132] == b"DICM" else content
        with contextlib.suppress(Exception):
            # As a sender would: what follows the file meta information, under its UID.
            header = dcmread(BytesIO(content), stop_before_pixels=True, force=True)
            uid = str(header.file_meta.MediaStorageSOPInstanceUID)
            offset = 144 + int(header.file_meta.FileMetaInformationGroupLength)
            data_set = content[offset:]
            assert store(receiver, data_set, uid=uid) in STATUSES - {0xA700}
        for syntax in CT_TRANSFER_SYNTAXES:
            assert store(receiver, data_set, syntax=syntax) in STATUSES - {0xA700}
        with open_association(receiver.port) as peer:
            peer.sendall(c_store(data_set, uid="1.2.3.4"))
            kind, answer = read_pdu(peer)
            assert kind == P_DATA_TF
            assert status_of(answer) in STATUSES - {0xA700}
            peer.sendall(RELEASE_RQ)
            read_to_end(peer)


def _resident_bytes():
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
