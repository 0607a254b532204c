"""The storage SCP against real senders: DCMTK's storescu and echoscu, pynetdicom, raw sockets."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE

from dicomnode.config import AllowedCaller, ReceiveConfig
from dicomnode.errors import ConfigError, StateError
from dicomnode.receive.archive import Archive
from dicomnode.receive.limits import Limits
from dicomnode.receive.scp import StorageSCP
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.part10 import read_stored
from dicomnode.spool.quarantine import Quarantine
from tests.support.ct import make_series

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
PIPELINES = {"COVIDCT": "covid-ct", "LUNG": "lung"}


def dcmtk(name: str) -> str:
    """DCMTK's own program: pynetdicom installs some of the same names in a virtual environment."""
    found = shutil.which(name, path=os.defpath)
    assert found is not None, f"DCMTK's {name} is not installed"
    return found


@dataclass
class Sink:
    """Keeps what it is told, in order."""

    fails_with: Exception | None = None
    events: list[tuple[Any, ...]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def _add(self, *event: Any) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def association_opened(self, association_id, *, pipeline, calling_ae_title):
        self._add("opened", association_id, pipeline, calling_ae_title)

    def instance_stored(self, pipeline, ref, *, calling_ae_title, association_id):
        assert self.gate.wait(20)
        if self.fails_with is not None:
            raise self.fails_with
        self._add("stored", association_id, pipeline, ref, calling_ae_title)

    def association_ended(self, association_id, *, pipeline, how):
        self._add("ended", association_id, pipeline, how)

    def kinds(self) -> list[str]:
        with self.changed:
            return [each[0] for each in self.events]

    def refs(self) -> list[Any]:
        with self.changed:
            return [each[3] for each in self.events if each[0] == "stored"]

    def wait_for(self, kind: str, count: int = 1, timeout: float = 10.0) -> list[tuple[Any, ...]]:
        with self.changed:
            assert self.changed.wait_for(lambda: self.kinds().count(kind) >= count, timeout), (
                self.events
            )
            return [each for each in self.events if each[0] == kind]


@dataclass
class Node:
    scp: StorageSCP
    store: InstanceStore
    quarantine: Quarantine
    sink: Sink

    @property
    def port(self) -> int:
        return self.scp.port

    def storescu(self, *files: Path, called: str = "COVIDCT", options: tuple[str, ...] = ()) -> Any:
        return subprocess.run(
            [dcmtk("storescu"), "-v", "-aec", called, *options, "127.0.0.1", str(self.port)]
            + [str(each) for each in files],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def echoscu(self, *options: str, called: str = "COVIDCT") -> Any:
        return subprocess.run(
            [dcmtk("echoscu"), "-v", "-aec", called, *options, "127.0.0.1", str(self.port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def associate(self, *, sop_class: str = CT, syntax: str = EXPLICIT):
        ae = AE(ae_title="TEST")
        ae.add_requested_context(sop_class, syntax)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
        return ae.associate("127.0.0.1", self.port, ae_title="COVIDCT")


@pytest.fixture(params=["fast", "pynetdicom"])
def data_path(request):
    """Every test that starts a node holds for both ways from the socket to the spool."""
    return request.param


@pytest.fixture
def start(tmp_path, data_path):
    nodes = []

    def start_node(*, reserve_bytes: int = 0, sink: Sink | None = None, **config: Any) -> Node:
        store = InstanceStore(tmp_path / "spool", reserve_bytes=reserve_bytes)
        quarantine = Quarantine(tmp_path / "spool")
        sink = sink or Sink()
        scp = StorageSCP(
            ReceiveConfig(port=0, data_path=data_path, **config),
            pipelines=PIPELINES,
            store=store,
            quarantine=quarantine,
            sink=sink,
        )
        scp.start()
        nodes.append(scp)
        return Node(scp, store, quarantine, sink)

    yield start_node
    for scp in nodes:
        scp.stop(0.0)


@pytest.fixture
def node(start):
    return start()


@pytest.fixture
def series(tmp_path):
    return make_series(tmp_path / "ct")


def inflated(syntax: str):
    def inflate(data_set: bytes) -> bytes:
        return zlib.decompress(data_set, -zlib.MAX_WBITS) if syntax.endswith(".1.99") else data_set

    return inflate


def data_sets(paths) -> set[bytes]:
    return {read_stored(path)[2] for path in paths}


def stored_data_sets(node: Node) -> set[bytes]:
    return data_sets(node.store.path(ref.key) for ref in node.sink.refs())


@pytest.mark.parametrize(
    ("convert", "propose", "syntax"),
    [
        ("+ti", "-xi", "1.2.840.10008.1.2"),
        ("+te", "-xe", EXPLICIT),
        ("+tb", "-xb", "1.2.840.10008.1.2.2"),
        ("+td", "-xd", "1.2.840.10008.1.2.1.99"),
    ],
    ids=["implicit", "explicit", "big-endian", "deflated"],
)
def test_a_series_is_stored_as_it_came_in_every_encoding(
    node, series, tmp_path, convert, propose, syntax
):
    sent = [tmp_path / f"sent-{path.name}" for path in series]
    for source, target in zip(series, sent, strict=True):
        subprocess.run([dcmtk("dcmconv"), convert, str(source), str(target)], check=True)

    result = node.storescu(*sent, options=(propose,))

    assert result.returncode == 0, result.stderr
    assert {ref.transfer_syntax_uid for ref in node.sink.refs()} == {syntax}
    # storescu deflates anew: what it deflated is compared.
    assert set(map(inflated(syntax), stored_data_sets(node))) == set(
        map(inflated(syntax), data_sets(sent))
    )
    stored = [dcmread(node.store.path(ref.key)) for ref in node.sink.refs()]
    assert {ds.file_meta.SourceApplicationEntityTitle for ds in stored} == {"STORESCU"}


def test_a_deflated_data_set_is_stored_byte_for_byte(node, series, tmp_path):
    sent, deflated = tmp_path / "deflated.dcm", "1.2.840.10008.1.2.1.99"
    subprocess.run([dcmtk("dcmconv"), "+td", str(series[0]), str(sent)], check=True)
    assoc = node.associate(syntax=deflated)

    assert send_by_path(assoc, sent) == 0x0000

    assoc.release()
    assert stored_data_sets(node) == data_sets([sent])


def test_compressed_pixel_data_is_stored_as_it_came(node, series, tmp_path):
    sent = tmp_path / "rle.dcm"
    subprocess.run([dcmtk("dcmcrle"), str(series[0]), str(sent)], check=True)

    result = node.storescu(sent, options=("-xr",))

    assert result.returncode == 0, result.stderr
    assert stored_data_sets(node) == data_sets([sent])
    assert node.sink.refs()[0].transfer_syntax_uid == "1.2.840.10008.1.2.5"


def test_the_sink_hears_of_the_association_its_instances_and_its_end(node, series):
    node.storescu(*series, options=("-aet", "CT1"))

    (ended,) = node.sink.wait_for("ended")
    assert node.sink.kinds() == ["opened"] + ["stored"] * len(series) + ["ended"]
    association_id = ended[1]
    assert node.sink.events[0] == ("opened", association_id, "covid-ct", "CT1")
    assert ended == ("ended", association_id, "covid-ct", "released")
    assert {each[1] for each in node.sink.events} == {association_id}


def test_an_abort_is_told_after_the_last_instance(node, series):
    result = node.storescu(*series, options=("--abort",))

    assert result.returncode == 0, result.stderr
    (ended,) = node.sink.wait_for("ended")
    assert ended[3] == "aborted"
    assert node.sink.kinds()[-1] == "ended"
    assert len(node.sink.refs()) == len(series)


def test_a_connection_that_breaks_is_an_abort(node):
    assoc = node.associate()
    node.sink.wait_for("opened")

    with assoc.dul.socket.socket as connection:
        connection.shutdown(socket.SHUT_RDWR)

    assert node.sink.wait_for("ended")[0][3] == "aborted"
    assert node.scp.open_associations() == 0


@pytest.mark.parametrize("called", PIPELINES)
def test_verification_answers_on_every_called_ae_title(node, called):
    result = node.echoscu(called=called)

    assert result.returncode == 0, result.stderr
    assert "Received Echo Response (Success)" in result.stderr


def test_two_called_ae_titles_share_a_port_and_not_their_instances(node, series):
    node.storescu(series[0], called="COVIDCT")
    node.storescu(series[0], called="LUNG")

    stored = node.sink.wait_for("stored", 2)
    assert [each[2] for each in stored] == ["covid-ct", "lung"]
    assert [each[3].key.split("/")[1] for each in stored] == ["covid-ct", "lung"]


@pytest.mark.parametrize("called", ["NOBODY", "covidct", "COVIDCT1"])
def test_another_called_ae_title_is_rejected(node, called, capsys):
    result = node.echoscu(called=called)

    assert result.returncode != 0
    assert "Result: Rejected Permanent, Source: Service User" in result.stderr
    assert "Reason: Called AE Title Not Recognized" in result.stderr
    line = next(each for each in capsys.readouterr().out.splitlines() if "_rejected" in each)
    assert all(each in line for each in (called, "COVIDCT, LUNG", "ECHOSCU", "127.0.0.1"))


@pytest.mark.parametrize(
    ("callers", "calling"),
    [
        ([AllowedCaller(ae_title="CT1", hosts=("127.0.0.0/8",))], "CT2"),
        ([AllowedCaller(ae_title="CT1", hosts=("192.0.2.7",))], "CT1"),
    ],
    ids=["title", "host"],
)
def test_a_caller_that_is_not_allowed_is_rejected(start, callers, calling):
    node = start(allowed_callers=callers)

    result = node.echoscu("-aet", calling)

    assert result.returncode != 0
    assert "Result: Rejected Permanent, Source: Service User" in result.stderr
    assert "Reason: Calling AE Title Not Recognized" in result.stderr
    assert node.sink.events == []


def test_an_allowed_caller_is_admitted(start):
    node = start(allowed_callers=[AllowedCaller(ae_title="CT1", hosts=("127.0.0.1",))])

    assert node.echoscu("-aet", "CT1").returncode == 0


def test_a_caller_that_may_only_verify_verifies_and_stores_nothing(start, series):
    monitor = AllowedCaller(ae_title="NAGIOS", hosts=("127.0.0.0/8",), verification_only=True)
    node = start(allowed_callers=(monitor,))

    assert node.echoscu("-aet", "NAGIOS").returncode == 0
    sent = node.storescu(*series, options=("-aet", "NAGIOS"))

    assert sent.returncode != 0
    assert "No Acceptable Presentation Contexts" in sent.stderr + sent.stdout
    assert node.sink.refs() == []


def test_over_the_limit_of_associations_the_rejection_is_transient(start):
    node = start(max_associations=2)
    held = [node.associate(), node.associate()]
    assert node.scp.open_associations() == 2

    result = node.echoscu()

    assert "Result: Rejected Transient, Source: Service Provider (Presentation Related)" in (
        result.stderr
    )
    assert "Reason: Local Limit Exceeded" in result.stderr
    held[0].release()
    node.sink.wait_for("ended")
    assert node.echoscu().returncode == 0
    held[1].release()


def test_a_sink_that_cannot_open_an_association_has_it_rejected_as_transient(start):
    sink = Sink()
    sink.association_opened = _raise(StateError("no database"))
    node = start(sink=sink)

    result = node.echoscu()

    assert "Result: Rejected Transient" in result.stderr
    assert node.scp.open_associations() == 0


def test_other_classes_are_not_negotiated_and_other_storage_is(node):
    query = node.associate(sop_class="1.2.840.10008.5.1.4.1.2.1.1")
    capture = node.associate(sop_class="1.2.840.10008.5.1.4.1.1.7")

    assert not query.is_established
    assert capture.is_established
    capture.release()


def test_the_rest_of_a_study_is_acknowledged_and_ignored(node, series, tmp_path):
    capture = dcmread(series[0])
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    capture.save_as(tmp_path / "capture.dcm")

    result = node.storescu(series[1], tmp_path / "capture.dcm", series[2])

    assert result.returncode == 0, result.stderr
    assert len(node.sink.refs()) == 2
    assert stored_data_sets(node) == data_sets(series[1:3])


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("SOPInstanceUID", "1.2.3.999"), ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2.1")],
)
def test_a_data_set_that_is_not_what_the_command_says_gets_0xa900(node, series, keyword, value):
    """The command is made from file meta information, so the two can be made to differ."""
    ds = dcmread(series[0])
    setattr(ds, keyword, value)
    ds.save_as(series[0])

    assert store_by_meta(node, series[0]) == 0xA900
    assert store_by_meta(node, series[1]) == 0x0000
    assert len(node.sink.refs()) == 1


def test_a_data_set_that_cannot_be_understood_gets_0xc000_and_the_association_lives_on(
    node, series
):
    whole = series[0].read_bytes()
    meta, _, data_set = read_stored(series[0])
    series[0].write_bytes(whole[: meta.data_set_offset] + b"\xff" * len(data_set))
    assoc = node.associate()

    statuses = [send_by_path(assoc, path) for path in series[:3]]
    assoc.release()

    assert statuses == [0xC000, 0x0000, 0x0000]
    (item,) = node.quarantine.list()
    assert node.quarantine.path(item.id).read_bytes() == b"\xff" * len(data_set)


def test_below_the_reserve_instances_are_refused_as_out_of_resources(start, series):
    node = start(reserve_bytes=1 << 60, headroom_bytes=0)
    has_room = InstanceStore(node.store._root, reserve_bytes=0)
    node.scp._open._limits = Limits(has_room)

    result = node.storescu(*series[:2])

    assert "0xa700" in result.stderr.lower() or "OutOfResources" in result.stderr
    assert node.sink.refs() == []
    assert list(node.store.scan()) == []


@pytest.mark.parametrize("failure", [StateError("locked"), RuntimeError("locked")])
def test_a_sink_that_fails_is_never_answered_with_success(start, series, failure):
    node = start(sink=Sink(fails_with=failure))

    assert store_by_meta(node, series[0]) == 0xA700
    assert node.sink.refs() == []


def test_parallel_associations_lose_nothing(start, tmp_path):
    node = start()
    folders = [make_series(tmp_path / str(number), seed=number) for number in range(4)]
    senders = [
        subprocess.Popen(
            [dcmtk("storescu"), "-aec", "COVIDCT", "127.0.0.1", str(node.port)]
            + [str(each) for each in files]
        )
        for files in folders
    ]

    assert [each.wait(60) for each in senders] == [0, 0, 0, 0]

    node.sink.wait_for("ended", 4)
    sent = [path for files in folders for path in files]
    assert len(node.sink.refs()) == len(sent)
    assert stored_data_sets(node) == data_sets(sent)
    assert {ref for _, ref in node.store.scan()} == set(node.sink.refs())


def test_draining_lets_an_open_association_finish_and_takes_no_new_one(start, series):
    node = start()
    port = node.port
    node.sink.gate.clear()
    sender = subprocess.Popen(
        [dcmtk("storescu"), "-aec", "COVIDCT", "127.0.0.1", str(port)]
        + [str(each) for each in series]
    )
    node.sink.wait_for("opened")
    stopping = threading.Thread(target=node.scp.stop, args=(20.0,))
    stopping.start()
    assert refuses_connections(port)

    node.sink.gate.set()

    assert sender.wait(30) == 0
    stopping.join(30)
    assert not stopping.is_alive()
    assert len(node.sink.refs()) == len(series)
    assert node.sink.events[-1][3] == "released"


def test_after_the_deadline_of_a_drain_what_is_open_is_aborted(start):
    node = start()
    assoc = node.associate()
    node.sink.wait_for("opened")
    begin = time.monotonic()

    node.scp.stop(0.3)

    assert time.monotonic() - begin < 5
    assert node.sink.wait_for("ended")[0][3] == "aborted"
    assert node.scp.open_associations() == 0
    assert wait_until(lambda: assoc.is_aborted)


def test_a_peer_that_stops_within_a_pdu_is_given_up_and_hinders_nobody(start):
    node = start(network_timeout_seconds=1.0)
    with raw_association(node.port) as silent:
        silent.sendall(struct.pack(">BBLLBB", 0x04, 0, 1000, 996, 1, 0x01) + b"\x00" * 4)
        node.sink.wait_for("opened")

        assert node.echoscu().returncode == 0
        ended = node.sink.wait_for("ended", 2, timeout=15)

    assert [each[3] for each in ended] == ["released", "aborted"]
    assert node.scp.open_associations() == 0


def test_stopping_does_not_wait_for_a_peer_that_stopped_within_a_pdu(start):
    node = start(network_timeout_seconds=600.0)
    with raw_association(node.port) as silent:
        silent.sendall(struct.pack(">BBLLBB", 0x04, 0, 1000, 996, 1, 0x01) + b"\x00" * 4)
        node.sink.wait_for("opened")

        node.scp.stop(0.1)

        assert node.sink.wait_for("ended")[0][3] == "aborted"


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01",
        b"\x01\x00\xff\xff\xff\xff",
        b"\x04\x00\x00\x00\x00\x04abcd",
    ],
    ids=["http", "short", "endless", "data-first"],
)
def test_what_is_no_association_request_leaves_the_listener_alive(start, content):
    node = start(acse_timeout_seconds=1.0, network_timeout_seconds=1.0)
    with socket.create_connection(("127.0.0.1", node.port)) as peer:
        peer.sendall(content)
        assert node.echoscu().returncode == 0
    assert node.scp.open_associations() == 0


def test_a_port_in_use_is_a_configuration_fault_with_its_path(start, tmp_path):
    port = start().port
    second = StorageSCP(
        ReceiveConfig(port=port),
        pipelines=PIPELINES,
        store=InstanceStore(tmp_path / "other", reserve_bytes=0),
        quarantine=Quarantine(tmp_path / "other"),
        sink=Sink(),
    )

    with pytest.raises(ConfigError, match=rf"receive\.port: cannot listen on .* port {port}: "):
        second.start()


def test_the_archive_keeps_what_it_gets_as_files(series, tmp_path):
    archive = Archive(tmp_path / "archive")
    archive.start()
    try:
        command = [dcmtk("storescu"), "-aec", "ARCHIVE", "127.0.0.1", str(archive.port)]
        subprocess.run([*command, *map(str, series)], check=True)
        subprocess.run([*command, str(series[0])], check=True)

        kept = archive.wait_for(len(series), timeout=10)
        with pytest.raises(TimeoutError, match=f"{len(series)} instances"):
            archive.wait_for(lambda paths: len(paths) > len(series), timeout=0.05)
    finally:
        archive.stop()

    assert data_sets(kept) == data_sets(series)
    assert kept[-1].stem == dcmread(series[0]).SOPInstanceUID


def test_the_archive_answers_to_its_own_title_only(tmp_path):
    archive = Archive(tmp_path / "archive")
    archive.start()
    try:
        command = [dcmtk("echoscu"), "-aec", "OTHER", "127.0.0.1", str(archive.port)]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
    finally:
        archive.stop()

    assert "Called AE Title Not Recognized" in result.stderr


def _raise(error: Exception):
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def send_by_path(assoc: Any, path: Path) -> int:
    """Send the data set untouched, the command made from the file meta information."""
    from pynetdicom import _config

    before, _config.STORE_SEND_CHUNKED_DATASET = _config.STORE_SEND_CHUNKED_DATASET, True
    try:
        return int(assoc.send_c_store(path).Status)
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = before


def store_by_meta(node: Node, path: Path) -> int:
    assoc = node.associate()
    try:
        return send_by_path(assoc, path)
    finally:
        assoc.release()


def raw_association(port: int) -> socket.socket:
    """Open an association by hand and return the socket after A-ASSOCIATE-AC."""

    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(content)) + content

    context = struct.pack(">BBBB", 1, 0, 0, 0)
    context += item(0x30, CT.encode()) + item(0x40, EXPLICIT.encode())
    user = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3.4")
    variable = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    titles = b"COVIDCT".ljust(16) + b"RAW".ljust(16)
    body = struct.pack(">HH", 1, 0) + titles + bytes(32) + variable
    peer = socket.create_connection(("127.0.0.1", port))
    peer.settimeout(20)
    peer.sendall(struct.pack(">BBL", 0x01, 0, len(body)) + body)
    assert peer.recv(1) == b"\x02"
    return peer


def refuses_connections(port: int) -> bool:
    def is_refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return True
        return False

    return wait_until(is_refused)


def wait_until(condition, seconds: float = 10.0) -> bool:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.02)
    return True
