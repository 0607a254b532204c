"""The storage SCU against DCMTK's storescp and peers that refuse, reject, abort and stall."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time

import pytest
from pydicom import dcmread
from pydicom.uid import UID, generate_uid

from dicomnode.errors import (
    AssociationRejected,
    AssociationUnavailable,
    ContextNotAccepted,
    SendError,
)
from dicomnode.send.store_scu import StoreOutcome, echo, send_instances
from dicomnode.spool.part10 import read_stored
from dicomnode.standard.ae import AEAddress
from tests.support.ct import make_series
from tests.support.pacs import FlakyPacs

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
CT = "1.2.840.10008.5.1.4.1.1.2"


def dcmtk(name: str) -> str:
    """DCMTK's own program: pynetdicom installs some of the same names in a virtual environment."""
    found = shutil.which(name, path=os.defpath)
    assert found is not None, f"DCMTK's {name} is not installed"
    return found


@pytest.fixture
def pacs():
    with FlakyPacs() as peer:
        yield peer


@pytest.fixture
def files(tmp_path):
    return make_series(tmp_path / "ct")[:4]


def send(paths, to: AEAddress, **changes: object) -> tuple[StoreOutcome, ...]:
    values = {"to": to, "calling_ae_title": "COVIDCT", "timeout_seconds": 10.0}
    return send_instances(paths, **(values | changes))


def test_every_instance_arrives_as_it_is_stored_over_one_association(pacs, files):
    outcomes = send(files, pacs.address)

    assert [each.path for each in outcomes] == files
    assert all(each.accepted and not each.transient for each in outcomes)
    assert {(each.status, each.words) for each in outcomes} == {(0, "Success")}
    assert [each.data_set for each in pacs.received] == [read_stored(path)[2] for path in files]
    assert {each.calling_ae_title for each in pacs.received} == {"COVIDCT"}
    assert pacs.associations == 1


def test_dcmtk_receives_what_was_sent(files, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (tmp_path / "got").mkdir()
    command = [dcmtk("storescp"), "+B", "-od", str(tmp_path / "got"), str(port)]
    with subprocess.Popen(command) as storescp:
        try:
            to = AEAddress("STORESCP", "127.0.0.1", port)
            wait_for_peer(to)
            outcomes = send(files, to)
        finally:
            storescp.terminate()

    assert all(each.accepted for each in outcomes)
    got = {read_stored(path)[2] for path in (tmp_path / "got").iterdir()}
    assert got == {read_stored(path)[2] for path in files}


def test_each_outcome_is_told_as_soon_as_it_is_known(pacs, files):
    told: list[tuple[StoreOutcome, int]] = []

    outcomes = send(
        files, pacs.address, on_sent=lambda outcome: told.append((outcome, pacs.attempts))
    )

    assert told == [(outcome, number) for number, outcome in enumerate(outcomes, start=1)]


@pytest.mark.parametrize(
    ("status", "accepted", "transient", "words"),
    [
        (0xA700, False, True, "Refused: Out of Resources"),
        (0xA7FF, False, True, "Refused: Out of Resources"),
        (0xA900, False, False, "Error: Data Set does not match SOP Class"),
        (0xC123, False, False, "Error: Cannot understand"),
        (0x0124, False, False, "Refused: Not authorized"),
        (0xB000, True, False, "Warning: Coercion of Data Elements"),
        (0xB007, True, False, "Warning: Data Set does not match SOP Class"),
    ],
)
def test_a_status_is_an_outcome_and_the_others_are_sent_all_the_same(
    pacs, files, status, accepted, transient, words
):
    pacs.refuse(status, times=1)

    first, *others = send(files, pacs.address)

    assert (first.status, first.accepted, first.transient) == (status, accepted, transient)
    assert first.words == words
    assert all(each.accepted for each in others)


@pytest.mark.parametrize(
    ("transient", "reason"),
    [(True, "local limit exceeded"), (False, "calling AE title not recognized")],
)
def test_a_rejection_says_whether_to_try_again(pacs, files, transient, reason):
    pacs.reject(transient=transient)

    with pytest.raises(AssociationRejected, match=reason) as caught:
        send(files, pacs.address)

    assert caught.value.retryable is transient
    assert str(pacs.address) in str(caught.value)
    assert pacs.attempts == 0


# The library leaves a socket that did not connect to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket")
def test_nobody_there_is_unavailable(files):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    with pytest.raises(AssociationUnavailable, match=f"NOBODY@127.0.0.1:{port}"):
        send(files, AEAddress("NOBODY", "127.0.0.1", port))


def test_a_listener_that_says_nothing_is_unavailable_after_the_time_out(files):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        with pytest.raises(AssociationUnavailable):
            send(
                files,
                AEAddress("SILENT", "127.0.0.1", silent.getsockname()[1]),
                timeout_seconds=0.5,
            )

    assert time.monotonic() - begin < 5


def test_an_abort_is_unavailable_and_what_was_accepted_before_is_on_record(pacs, files):
    told: list[StoreOutcome] = []

    def remember(outcome: StoreOutcome) -> None:
        told.append(outcome)
        if len(told) == 2:
            pacs.abort_in_store()

    with pytest.raises(AssociationUnavailable):
        send(files, pacs.address, on_sent=remember)

    assert [each.accepted for each in told] == [True, True]
    assert pacs.uids() == [each.sop_instance_uid for each in told]


def test_a_peer_that_stalls_is_unavailable_after_the_time_out(pacs, files):
    pacs.stall()
    begin = time.monotonic()

    with pytest.raises(AssociationUnavailable, match="in time"):
        send(files, pacs.address, timeout_seconds=2)

    assert time.monotonic() - begin < 10
    assert pacs.attempts == 1


def test_a_second_attempt_is_accepted_when_the_peer_behaves_again(pacs, files):
    pacs.refuse(0xA700, times=1)
    refused = [each.path for each in send(files, pacs.address) if not each.accepted]

    outcomes = send(refused, pacs.address)

    assert [each.accepted for each in outcomes] == [True]
    assert sorted(pacs.uids()) == sorted(str(dcmread(path).SOPInstanceUID) for path in files)


def test_no_context_at_all_is_one_clear_failure(files):
    with FlakyPacs(sop_classes=["1.2.840.10008.5.1.4.1.1.7"]) as pacs:
        with pytest.raises(ContextNotAccepted, match=f"wanted {CT} in {EXPLICIT}"):
            send(files, pacs.address)

        assert pacs.associations == 1


def test_one_context_that_is_not_accepted_is_the_outcome_of_its_instances(files):
    capture = dcmread(files[1])
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = UID(
        "1.2.840.10008.5.1.4.1.1.7"
    )
    capture.save_as(files[1])
    with FlakyPacs(sop_classes=[CT]) as pacs:
        first, second, third = send(files[:3], pacs.address)

    assert (first.accepted, second.accepted, third.accepted) == (True, False, True)
    assert (second.status, second.transient) == (None, False)
    assert "no presentation context was accepted for 1.2.840.10008.5.1.4.1.1.7" in second.words


@pytest.mark.parametrize("stored", [EXPLICIT, IMPLICIT, DEFLATED])
@pytest.mark.parametrize("known", [EXPLICIT, IMPLICIT])
def test_a_peer_that_knows_another_uncompressed_syntax_gets_the_same_data_set_in_that(
    files, tmp_path, stored, known
):
    option = {EXPLICIT: "+te", IMPLICIT: "+ti", DEFLATED: "+td"}[stored]
    path = tmp_path / "stored.dcm"
    subprocess.run([dcmtk("dcmconv"), option, str(files[0]), str(path)], check=True)
    with FlakyPacs(transfer_syntaxes=[known]) as pacs:
        (outcome,) = send([path], pacs.address)
        (received,) = pacs.received

    assert outcome.accepted
    assert received.transfer_syntax_uid == known
    got = dcmread(received.save(tmp_path / "got"))
    assert got == dcmread(files[0])
    assert got.PixelData == dcmread(files[0]).PixelData


def test_a_compressed_file_is_never_converted(files, tmp_path):
    path = tmp_path / "rle.dcm"
    subprocess.run([dcmtk("dcmcrle"), str(files[0]), str(path)], check=True)
    with FlakyPacs(transfer_syntaxes=[RLE]) as pacs:
        assert send([path], pacs.address)[0].accepted
        assert pacs.received[0].data_set == read_stored(path)[2]
    with FlakyPacs(transfer_syntaxes=[EXPLICIT]) as pacs, pytest.raises(ContextNotAccepted):
        send([path], pacs.address)


def test_more_classes_than_one_association_can_carry_go_over_several(files, tmp_path):
    from pynetdicom import AllStoragePresentationContexts

    classes = [context.abstract_syntax for context in AllStoragePresentationContexts][:70]
    ds = dcmread(files[0])
    paths = []
    for number, sop_class in enumerate(classes):
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        paths.append(tmp_path / f"{number}.dcm")
        ds.save_as(paths[-1])

    with FlakyPacs() as pacs:
        outcomes = send(paths, pacs.address)

        assert pacs.associations == 2
        assert [each.sop_class_uid for each in pacs.received] == classes
    assert [each.path for each in outcomes] == paths
    assert all(each.accepted for each in outcomes)


@pytest.mark.parametrize("content", [None, b"no DICOM"])
def test_a_file_that_cannot_be_read_is_named_and_nothing_is_sent(pacs, files, tmp_path, content):
    path = tmp_path / "result.dcm"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SendError, match=r"result\.dcm"):
        send([*files, path], pacs.address)

    assert pacs.associations == 0


def test_verification_takes_a_moment_and_says_how_long(pacs):
    seconds = echo(pacs.address, calling_ae_title="COVIDCT", timeout_seconds=10)

    assert 0 < seconds < 5


def test_verification_of_a_peer_that_rejects_is_a_rejection(pacs):
    pacs.reject(transient=False)

    with pytest.raises(AssociationRejected):
        echo(pacs.address, calling_ae_title="COVIDCT", timeout_seconds=10)


def wait_for_peer(to: AEAddress, seconds: float = 10.0) -> None:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while True:
        try:
            socket.create_connection((to.host, to.port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, f"{to} did not start"
            pause.wait(0.05)
        else:
            return
