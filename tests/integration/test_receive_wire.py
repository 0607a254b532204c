"""The storage SCP at the level of PDUs, by both ways from the socket to the spool."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import subprocess
import threading
import time
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from dicomnode.config import ReceiveConfig
from dicomnode.receive.listener import Listener
from dicomnode.receive.scp import StorageSCP
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.part10 import read_stored
from dicomnode.spool.quarantine import Quarantine
from tests.support.raw_sender import (
    COMMAND,
    LAST,
    Instance,
    RawAssociation,
    command_set,
    element,
    fragment,
    pdu,
    store_message,
    store_rq,
)

A_RELEASE_RQ, A_ABORT = 0x05, 0x07
ONE = Instance("1.2.3.4", "1.2.5")
TWO = Instance("1.2.3.14", "1.2.5", pixel_bytes=300_001)


class Sink:
    """Keeps what it is told, in order."""

    def __init__(self):
        self.events = []
        self.changed = threading.Condition()

    def _add(self, *event):
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def association_opened(self, _id, **_):
        self._add("opened")

    def instance_stored(self, _pipeline, ref, **_):
        self._add("stored", ref)

    def association_ended(self, _id, *, how, **_):
        self._add("ended", how)

    def wait_for_end(self) -> str:
        with self.changed:
            assert self.changed.wait_for(lambda: self.events and self.events[-1][0] == "ended", 20)
            return self.events[-1][1]

    def refs(self):
        return [each[1] for each in self.events if each[0] == "stored"]


class Node:
    def __init__(self, folder, data_path, **config):
        self.spool = folder / "spool"
        self.store = InstanceStore(self.spool, reserve_bytes=0)
        self.sink = Sink()
        self.scp = StorageSCP(
            ReceiveConfig(port=0, data_path=data_path, **config),
            pipelines={"CHEST": "chest"},
            store=self.store,
            quarantine=Quarantine(self.spool),
            sink=self.sink,
        )
        self.scp.start()

    def associate(self, **options) -> RawAssociation:
        return RawAssociation(self.scp.port, "CHEST", **options)

    def stored(self) -> dict[str, bytes]:
        return {
            ref.sop_instance_uid: read_stored(self.store.path(ref.key))[2]
            for ref in self.sink.refs()
        }


# Where the library's own way does not do what PS3.8 asks for: it answers a release before the
# messages that came before it, and hangs or closes on some messages that are none.
fast_only = pytest.mark.parametrize("data_path", ["fast"], indirect=True)


@pytest.fixture(params=["fast", "pynetdicom"])
def data_path(request):
    return request.param


@pytest.fixture
def start(tmp_path, data_path):
    nodes = []

    def start_node(**config) -> Node:
        nodes.append(Node(tmp_path, data_path, **config))
        return nodes[-1]

    yield start_node
    for node in nodes:
        node.scp.stop(0.0)


@pytest.fixture
def node(start):
    return start()


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def wait_until(condition, seconds: float = 10.0) -> None:
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.02)  # threads of the library: nothing to wait on


@pytest.mark.parametrize("longest", [128, 1_000, 16_384, 131_072])
def test_data_sets_are_stored_byte_for_byte_however_they_are_cut(node, longest):
    with node.associate() as peer:
        for instance in (ONE, TWO):
            peer.send(store_message(instance, longest=longest))
            assert peer.status() == 0x0000
        peer.release()

    assert node.sink.wait_for_end() == "released"
    assert node.stored() == {each.sop_instance_uid: each.data_set for each in (ONE, TWO)}


@pytest.mark.parametrize("piece", [1, 7, 997])
def test_a_message_that_trickles_in_is_stored(node, piece):
    instance = Instance("1.2.3.4", "1.2.5", pixel_bytes=500)
    content = store_message(instance, longest=200)
    with node.associate() as peer:
        for begin in range(0, len(content), piece):
            peer.send(content[begin : begin + piece])
        assert peer.status() == 0x0000


@fast_only
def test_messages_sent_before_the_answer_to_the_first_are_all_answered(node):
    instances = [Instance(f"1.2.3.{number}", "1.2.5") for number in range(1, 6)]
    with node.associate() as peer:
        peer.send(b"".join(map(store_message, instances)) + pdu(bytes(4), kind=A_RELEASE_RQ))
        assert [peer.status() for _ in instances] == [0x0000] * 5
        assert peer.receive()[0] == 0x06

    assert set(node.stored()) == {each.sop_instance_uid for each in instances}


def test_data_sent_together_with_nothing_to_wait_for_is_not_lost_in_negotiation(node):
    """The first message may follow A-ASSOCIATE-AC at once: state 6 begins with the answer."""
    for number in range(1, 9):
        with node.associate() as peer:
            assert peer.store(Instance(f"1.2.9.{number}", "1.2.5", pixel_bytes=10)) == 0x0000
            peer.release()

    assert len(node.sink.refs()) == 8


def test_verification_and_stores_take_turns_on_one_association(node):
    ae = AE(ae_title="TEST")
    ae.add_requested_context(CTImageStorage, "1.2.840.10008.1.2.1")
    ae.add_requested_context(Verification)
    assoc = ae.associate("127.0.0.1", node.scp.port, ae_title="CHEST")
    for instance in (ONE, TWO):
        assert assoc.send_c_echo().Status == 0x0000
        ds = dcmread(BytesIO(instance.data_set), force=True)
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        assert assoc.send_c_store(ds).Status == 0x0000
        assert instance.data_set in node.stored().values()
    assoc.release()
    assert node.sink.wait_for_end() == "released"


@pytest.mark.parametrize("maximum", [64, 128])
def test_the_answer_is_cut_as_small_as_the_peer_wants_it(node, maximum):
    with node.associate(longest=maximum) as peer:
        peer.send(store_message(ONE))
        command, last = b"", False
        while not last:
            kind, content = peer.receive()
            assert kind == 0x04
            assert len(content) <= maximum
            last = bool(content[5] & LAST)
            command += content[6:]
    assert struct.unpack_from("<H", command, command.index(b"\x00\x00\x00\x09") + 8) == (0x0000,)


@fast_only
@pytest.mark.parametrize(
    "content",
    [
        pdu(b""),
        pdu(struct.pack(">LBB", 3, 1, 3)),
        pdu(fragment(b"no command set", COMMAND | LAST)),
        pdu(fragment(store_rq("1.2.3"), COMMAND | LAST, context_id=99)),
        pdu(b"", kind=0x09),
        pdu(b"\x01\x00", kind=0x02),
    ],
    ids=["no-fragment", "too-long", "no-command", "no-context", "unknown-pdu", "unexpected-pdu"],
)
def test_what_cannot_be_followed_is_answered_with_an_abort(node, content):
    with node.associate() as peer:
        assert peer.store(ONE) == 0x0000
        peer.send(content)
        assert answer(peer) == A_ABORT

    assert node.sink.wait_for_end() == "aborted"
    assert node.scp.open_associations() == 0
    with node.associate() as peer:
        assert peer.store(TWO) == 0x0000


def answer(peer: RawAssociation) -> int | None:
    """Return the type of the next PDU; None where the connection was closed instead."""
    try:
        return peer.receive()[0]
    except ConnectionError:
        return None


@pytest.mark.parametrize("end", ["abort", "close", "reset"])
def test_an_instance_broken_off_leaves_nothing(node, end):
    descriptors, threads = open_descriptors(), threading.active_count()
    half = store_message(TWO)[:150_000]
    for _ in range(3):
        with node.associate() as peer:
            peer.send(half[: half.rindex(struct.pack(">BB", 4, 0), 0, 120_000)])
            if end == "abort":
                peer.send(pdu(bytes(4), kind=A_ABORT))
            elif end == "reset":
                linger = struct.pack("ii", 1, 0)
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    wait_until(lambda: [e[0] for e in node.sink.events].count("ended") == 3)

    assert node.sink.wait_for_end() == "aborted"
    wait_until(lambda: threading.active_count() <= threads)
    wait_until(lambda: open_descriptors() <= descriptors)
    assert [each for each in node.spool.rglob("*") if each.is_file()] == []
    assert node.sink.refs() == []


def test_a_peer_that_stops_within_an_instance_is_aborted_and_its_part_removed(start):
    node = start(network_timeout_seconds=0.5)
    with node.associate() as peer:
        peer.send(store_message(TWO)[:100_000])
        assert answer(peer) in {A_ABORT, None}

    assert node.sink.wait_for_end() == "aborted"
    wait_until(lambda: [each for each in node.spool.rglob("*") if each.is_file()] == [])


def test_an_idle_association_is_aborted(start):
    node = start(network_timeout_seconds=0.5)
    with node.associate() as peer:
        assert peer.store(ONE) == 0x0000
        assert peer.receive()[0] == A_ABORT

    assert node.sink.wait_for_end() == "aborted"


def test_a_data_set_larger_than_memory_should_hold_is_streamed(tmp_path):
    """Only by the fast way: the library collects a message before anybody sees it."""
    node = Node(tmp_path, "fast")
    part = bytes(131_066)
    try:
        with node.associate() as peer:
            peer.send(pdu(fragment(store_rq(ONE.sop_instance_uid), COMMAND | LAST)))
            peer.send(pdu(fragment(ONE.data_set[:-30_000], 0)))
            before = resident_bytes()
            for _ in range(600):
                peer.send(pdu(fragment(part, 0)))
            (growing,) = node.spool.glob("incoming/*")
            wait_until(lambda: growing.stat().st_size > 600 * len(part))
            assert resident_bytes() - before < 30_000_000
    finally:
        node.scp.stop(0.0)
    wait_until(lambda: list(node.spool.glob("incoming/*")) == [])


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no file, and read at once
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@fast_only
def test_data_is_taken_through_tls(start, tmp_path, monkeypatch):
    """How a listener comes to TLS is another matter; here it is laid around its connections."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost "
        f"-keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(certificate, key)
    outside = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outside.check_hostname, outside.verify_mode = False, ssl.CERT_NONE
    accept = Listener.get_request

    def accept_tls(listener):
        connection, address = accept(listener)
        return inside.wrap_socket(connection, server_side=True), address

    monkeypatch.setattr(Listener, "get_request", accept_tls)
    node = start()
    instances = [Instance(f"1.2.7.{n}", "1.2.5", pixel_bytes=n * 100_003) for n in range(1, 6)]

    with node.associate(tls=outside) as peer:
        for instance in instances:
            peer.send(store_message(instance, longest=131_072))
            assert peer.status() == 0x0000
        peer.release()

    assert node.sink.wait_for_end() == "released"
    assert node.stored() == {each.sop_instance_uid: each.data_set for each in instances}


def test_with_fifty_associations_open_the_next_is_accepted_at_once(tmp_path):
    node = Node(tmp_path, "fast", max_associations=60)
    peers = []
    try:
        peers = [node.associate() for _ in range(50)]
        seconds = []
        for _ in range(15):
            begin = time.perf_counter()
            with node.associate() as peer:
                seconds.append(time.perf_counter() - begin)
                peer.release()
        # Generous where the machine is shared; the benchmark has the figure.
        assert sorted(seconds)[7] < 0.1
        assert [peer.store(Instance(f"1.2.8.{n + 1}", "1.2.5", 9)) for n, peer in enumerate(peers)]
        assert len(node.sink.refs()) == 50
    finally:
        for peer in peers:
            peer.socket.close()
        node.scp.stop(5.0)


def test_an_n_action_of_a_service_that_is_not_offered_ends_the_association(node):
    action = command_set(
        element(0x0003, b"1.2.840.10008.1.20.1"),
        element(0x0100, struct.pack("<H", 0x0130)),
        element(0x0110, struct.pack("<H", 6)),
        element(0x0800, struct.pack("<H", 0x0101)),
        element(0x1001, b"1.2.840.10008.1.20.1.1"),
        element(0x1008, struct.pack("<H", 1)),
    )
    with node.associate() as peer:
        peer.send(pdu(fragment(action, COMMAND | LAST)))
        assert answer(peer) in {A_ABORT, 0x04, None}
    node.sink.wait_for_end()
