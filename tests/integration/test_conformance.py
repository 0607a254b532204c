"""The conformance statement against the node: what it names is negotiated and answered, no more."""

from __future__ import annotations

from copy import deepcopy
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.presentation import build_context, build_role

from dicomnode.config import AllowedCaller, User
from dicomnode.conformance.statement import write_statement
from dicomnode.receive import commitment
from dicomnode.standard.sop_classes import (
    CT_IMAGE,
    CT_TRANSFER_SYNTAXES,
    EXPLICIT_VR_LITTLE_ENDIAN,
    STORAGE_COMMITMENT_PUSH,
    STORAGE_COMMITMENT_PUSH_INSTANCE,
    STUDY_ROOT_FIND,
    VERIFICATION,
)
from tests.support.ct import make_series
from tests.support.receiving import (
    PRIVATE_CLASS,
    as_shown,
    plain,
    receiver,
    receiving,
    two_pipelines,
)
from tests.support.statement import Statement

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

NOT_NAMED = (
    STUDY_ROOT_FIND,
    "1.2.840.10008.5.1.4.1.2.2.2",  # Study Root MOVE
    "1.2.840.10008.5.1.4.1.2.2.3",  # Study Root GET
    "1.2.840.10008.5.1.4.31",  # Modality Worklist FIND
    "1.2.840.10008.3.1.2.3.3",  # Modality Performed Procedure Step
    "1.2.840.10008.5.1.4.34.6.1",  # UPS Push
    "1.2.840.10008.5.1.4.33",  # Instance Availability Notification
    "1.2.840.10008.5.1.1.9",  # Basic Grayscale Print Management
    "1.2.840.10008.1.3.10",  # Media Storage Directory
    "1.2.840.10008.5.1.4.39.1",  # Color Palette: stored, yet of no patient
    "1.3.6.1.4.1.99999.7.2",  # private
)
OTHER_SYNTAXES = (
    "1.2.840.10008.1.2.4.94",  # JPIP Referenced
    "1.2.840.10008.1.2.4.100",  # MPEG2
    "1.2.840.10008.1.2.4.110",  # JPEG XL Lossless
    "1.3.6.1.4.1.99999.7.3",  # private
)


def associate(port, contexts, *, called="CHEST", **more):
    ae = AE(ae_title="TEST")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 20
    return ae.associate("127.0.0.1", port, contexts=contexts, ae_title=called, **more)


# -- what is accepted


def negotiate(port, ae_title, pairs):
    """Propose each pair in a context of its own; return those that are accepted."""
    accepted = set()
    for begin in range(0, len(pairs), 128):
        contexts = [build_context(*each) for each in pairs[begin : begin + 128]]
        assoc = associate(port, contexts, called=ae_title)
        accepted |= {
            (str(each.abstract_syntax), str(each.transfer_syntax[0]))
            for each in assoc.accepted_contexts
        }
        assert assoc.is_established or not assoc.accepted_contexts
        if assoc.is_established:
            assoc.release()
    return accepted


@pytest.mark.parametrize("make", [as_shown, two_pipelines], ids=["as shown", "two pipelines"])
def test_what_is_accepted_is_what_is_stated(tmp_path, make):
    config = make(tmp_path)
    statement = Statement(write_statement(config))
    with receiving(config) as node:
        for index, pipeline in enumerate(config.pipelines.values(), start=1):
            stated = statement.accepted(f"7.2.{index}", pipeline.ae_title)
            classes = sorted({*stated, *NOT_NAMED, PRIVATE_CLASS, CAPTURE})
            # Every class once with every transfer syntax would take minutes: all that are stated,
            # and for the rest one of each kind that is not.
            pairs = [(uid, each) for uid, syntaxes in stated.items() for each in syntaxes]
            pairs += [(uid, CT_TRANSFER_SYNTAXES[4]) for uid in classes if uid not in stated]
            pairs += [(uid, EXPLICIT_VR_LITTLE_ENDIAN) for uid in classes if uid not in stated]
            pairs += [(CT_IMAGE, each) for each in OTHER_SYNTAXES]
            pairs += [(VERIFICATION, each) for each in (*CT_TRANSFER_SYNTAXES[2:], *OTHER_SYNTAXES)]
            pairs += [(STORAGE_COMMITMENT_PUSH, each) for each in CT_TRANSFER_SYNTAXES[2:]]

            accepted = negotiate(node.receive_port, pipeline.ae_title, pairs)

            assert accepted == {(uid, each) for uid, them in stated.items() for each in them}


def test_of_several_transfer_syntaxes_the_first_of_the_set_is_accepted(tmp_path):
    config = plain(tmp_path)
    order = Statement(write_statement(config)).sets()["C"]
    with receiving(config) as node:
        contexts = [build_context(CT_IMAGE, list(reversed(order[n:]))) for n in range(len(order))]
        assoc = associate(node.receive_port, contexts)
        chosen = [str(each.transfer_syntax[0]) for each in assoc.accepted_contexts]
        assoc.release()

    assert chosen == order


@pytest.mark.parametrize("make", [plain, two_pipelines], ids=["asks for none", "asks"])
def test_a_peer_may_bring_reports_of_storage_commitment_where_that_is_stated(tmp_path, make):
    config = make(tmp_path)
    rows = Statement(write_statement(config)).table(
        "7.2.1.4 Association Acceptance by CHEST", "abstract syntax"
    )
    (role,) = (row["role"] for row in rows if row["UID"] == STORAGE_COMMITMENT_PUSH)
    with receiving(config) as node:
        assoc = associate(
            node.receive_port,
            [build_context(STORAGE_COMMITMENT_PUSH)],
            ext_neg=[build_role(STORAGE_COMMITMENT_PUSH, scp_role=True)],
        )
        may_be_scp = any(each.as_scp for each in assoc.accepted_contexts)
        assoc.release()

    assert may_be_scp == (role == "SCP or SCU")


def test_the_node_says_who_it_is_as_stated(tmp_path):
    config = plain(tmp_path)
    stated = {
        row["parameter"]: row["as acceptor"]
        for row in Statement(write_statement(config)).table(
            "7.1.1 General Association Parameters", "parameter"
        )
    }
    with receiving(config) as node:
        assoc = associate(node.receive_port, [build_context(VERIFICATION)])
        answer = assoc.acceptor
        found = (
            str(answer.primitive.application_context_name),
            str(answer.implementation_class_uid),
            answer.implementation_version_name,
            answer.maximum_length,
            answer.asynchronous_operations,
        )
        assoc.release()

    assert found == (
        stated["Application Context Name"],
        stated["Implementation Class UID"],
        stated["Implementation Version Name"],
        int(stated["Maximum PDU length received"].split()[0]),
        (1, 1),
    )


# -- what is answered


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return make_series(tmp_path_factory.mktemp("ct"), shape_kji=(3, 7, 5))


def store_oddities(port, series):
    """Provoke what an instance can be answered with; return the statuses."""
    first, second, _ = (dcmread(each) for each in series)
    other = deepcopy(first)
    other.PixelData = bytes(reversed(other.PixelData))
    capture = deepcopy(second)
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = CAPTURE
    large = deepcopy(second)
    large.PixelData = bytes(200_000)
    torn = deepcopy(second)
    torn.SeriesInstanceUID = "no UID"
    contexts = [build_context(each, EXPLICIT_VR_LITTLE_ENDIAN) for each in (CT_IMAGE, CAPTURE)]
    assoc = associate(port, contexts)
    statuses = [assoc.send_c_store(each).Status for each in (first, first, other, capture, large)]
    swapped = deepcopy(second)
    swapped.file_meta.MediaStorageSOPInstanceUID = second.SOPInstanceUID
    statuses.append(_store_as(assoc, swapped, generate_uid()))
    statuses.append(assoc.send_c_store(torn).Status)
    assoc.release()
    return statuses


def _store_as(assoc, data_set, uid):
    """Send a data set under a SOP Instance UID that is not its own."""
    request = C_STORE()
    request.MessageID = 77
    request.AffectedSOPClassUID = CT_IMAGE
    request.AffectedSOPInstanceUID = uid
    request.Priority = 2
    request.DataSet = BytesIO(encode(data_set, is_implicit_vr=False, is_little_endian=True))
    (context,) = (each for each in assoc.accepted_contexts if each.abstract_syntax == CT_IMAGE)
    assoc._reactor_checkpoint.clear()
    assoc.dimse.send_msg(request, context.context_id)
    _, answer = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    return answer.Status


@pytest.mark.parametrize("duplicates", ["keep-first", "refuse"])
def test_a_store_is_answered_with_the_statuses_that_are_stated(tmp_path, series, duplicates):
    config = plain(tmp_path, duplicates=duplicates, receive={"max_instance_bytes": 100_000})
    rows = Statement(write_statement(config)).table("7.3.2 DIMSE Services", "status")
    with receiving(config) as node:
        found = store_oddities(node.receive_port, series)

    assert {f"0x{each:04X}" for each in found} == {row["status"] for row in rows}
    other = 0x0111 if duplicates == "refuse" else 0x0000
    assert found == [0x0000, 0x0000, other, 0x0000, 0xA700, 0xA900, 0xC000]


def test_a_commitment_request_is_answered_with_the_statuses_that_are_stated(tmp_path, monkeypatch):
    monkeypatch.setattr(commitment, "MOST_INSTANCES", 2)
    config = plain(tmp_path)
    text = Statement(write_statement(config)).section("7.3.2 DIMSE Services")
    block = text.split("Storage Commitment, SCP, N-ACTION answered:")[1].split("\n\n")[1]
    stated = {line.split("|")[1].strip() for line in block.splitlines()[2:]}
    used = generate_uid()
    with receiving(config) as node:
        assoc = associate(node.receive_port, [build_context(STORAGE_COMMITMENT_PUSH)])
        found = {
            _ask(assoc, used, 1),
            _ask(assoc, used, 2),
            _ask(assoc, generate_uid(), 3),
            _ask(assoc, generate_uid(), 0),
            _ask(assoc, generate_uid(), 1, action=2),
            _ask(assoc, generate_uid(), 1, instance="1.2.3"),
        }
        assoc.release()

    assert {f"0x{each:04X}" for each in found} == stated


def _ask(assoc, transaction, count, *, action=1, instance=STORAGE_COMMITMENT_PUSH_INSTANCE):
    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = [Dataset() for _ in range(count)]
    for number, item in enumerate(information.ReferencedSOPSequence):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT_IMAGE, f"1.2.3.{number}"
    status, _ = assoc.send_n_action(information, action, STORAGE_COMMITMENT_PUSH, instance)
    return status.Status


def rejection(config, *, beside=0, **more):
    """Be rejected by a node of this configuration; return result, source and reason."""
    context = [build_context(VERIFICATION)]
    with receiving(config) as node:
        open_ones = [associate(node.receive_port, context) for _ in range(beside)]
        assoc = associate(node.receive_port, context, **more)
        assert assoc.is_rejected
        answer = assoc.acceptor.primitive
        for each in open_ones:
            each.release()
    return f"{answer.result}, {answer.result_source}, {answer.diagnostic}"


def test_associations_are_rejected_as_is_stated(tmp_path):
    password = tmp_path / "password"
    password.write_text("open sesame")
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 2
    identity.primary_field, identity.secondary_field = b"ct1", b"wrong"
    users = (User(name="ct1", password_file=password),)
    callers = (AllowedCaller(ae_title="PACS", hosts=("192.0.2.1",)),)
    config = plain(tmp_path)
    rows = Statement(write_statement(config)).table(
        "7.3.1 General Communication and Failure Behavior", "result, source, reason"
    )

    found = {
        rejection(config, called="NOBODY"),
        rejection(receiver(config, allowed_callers=callers)),
        rejection(receiver(config, users=users), ext_neg=[identity]),
        rejection(receiver(config, headroom_bytes=10**17)),
        rejection(receiver(config, max_associations=1), beside=1),
    }

    # "2, 1, 1": a fault of the node's own, which nothing from outside brings about.
    assert found == {row["result, source, reason"] for row in rows} - {"2, 1, 1"}


def test_a_data_set_in_a_context_that_was_not_accepted_ends_the_association(tmp_path):
    with receiving(plain(tmp_path)) as node:
        assoc = associate(node.receive_port, [build_context(CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN)])
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CT_IMAGE, "1.2.3"
        request.DataSet = BytesIO(b"")
        assoc.dimse.send_msg(request, 99)
        assoc.join(20)

        assert assoc.is_aborted
