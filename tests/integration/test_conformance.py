"""The conformance statement against the node: what it names is negotiated and answered, no more."""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.presentation import build_context, build_role

from dicomnode.config import AllowedCaller, CommitmentPeer, User, load
from dicomnode.conformance.statement import write_statement
from dicomnode.database import open_database
from dicomnode.database.delivery_rows import open_delivery
from dicomnode.database.job_rows import create_job, set_job
from dicomnode.imaging.contents import open_series
from dicomnode.model.series import SeriesRevision
from dicomnode.node import Node
from dicomnode.pipeline.analysis import Stopwatch, assemble, write_results
from dicomnode.pipeline.delivery import Delivery
from dicomnode.pipeline.setup import build_setups
from dicomnode.receive import commitment
from dicomnode.receive.commitment_report import call_back
from dicomnode.send.commitment_scu import request_commitment
from dicomnode.send.find_scu import count_series_instances
from dicomnode.spool.results import Outbox
from dicomnode.spool.workspace import Workspace
from dicomnode.standard.ae import AEAddress
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
from tests.support.findings import make_findings, make_overlapping
from tests.support.node import write_config
from tests.support.pacs import FlakyPacs
from tests.support.statement import Statement

REFERENCE = Path(__file__).parents[2] / "config" / "dicomnode.toml"
PRIVATE_CLASS = "1.3.6.1.4.1.99999.7.1"
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


def settings(folder, **sections):
    return load(write_config(folder / "dicomnode.toml", **sections))


def folder_destination(folder):
    return {"out": {"kind": "folder", "path": str(folder / "results")}}


@contextmanager
def receiving(config):
    """The receiver of a whole node, without Triton."""
    node = Node(config, roles=frozenset(("receive",)))
    node.start()
    try:
        yield node
    finally:
        node.stop()


def plain(folder, **more):
    """One pipeline, called AE title CHEST."""
    receive = {"port": 0, "headroom_bytes": 0, "reserve_bytes": 0} | more.pop("receive", {})
    return settings(
        folder,
        receive=receive,
        pipelines={"chest": {"ae_title": "CHEST", "destinations": ["out"]} | more},
        destinations=folder_destination(folder),
    )


def receiver(config, **changes):
    """The same configuration with other values in ``[receive]``."""
    return config.model_copy(update={"receive": config.receive.model_copy(update=changes)})


def as_shown(folder):
    config = load(REFERENCE).model_copy(update={"data_dir": folder / "data"})
    return receiver(config, port=0)


def two_pipelines(folder):
    return settings(
        folder,
        pipelines={
            "chest": {"ae_title": "CHEST", "destinations": ["pacs"], "other_classes": "refuse"},
            "any": {
                "ae_title": "ANY",
                "destinations": ["pacs"],
                "store_classes": [CT_IMAGE, PRIVATE_CLASS],
            },
        },
        destinations={
            "pacs": {
                "kind": "dimse",
                "ae_title": "PACS",
                "host": "127.0.0.1",
                "port": 104,
                "storage_commitment": True,
            }
        },
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


# -- what is proposed


@contextmanager
def listening(*contexts, handlers=(), role=None):
    """A peer that accepts these contexts and remembers what was proposed."""
    proposed = []

    def look(event):
        request = event.assoc.requestor
        proposed.extend(
            f"{each.abstract_syntax} {','.join(map(str, each.transfer_syntax))}"
            for each in request.primitive.presentation_context_definition_list
        )
        roles.update(
            (str(uid), (each.scu_role, each.scp_role))
            for uid, each in request.role_selection.items()
        )

    roles = {}
    ae = AE(ae_title="PEER")
    for each in contexts:
        ae.add_supported_context(each, **({} if role is None else role))
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, look), *handlers]
    )
    try:
        yield AEAddress("PEER", "127.0.0.1", server.socket.getsockname()[1]), proposed, roles
    finally:
        server.shutdown()


DESTINATIONS = {
    "as shown": {},
    "deflated": {"seg": {"compression": "deflate"}},
    "label map": {"seg": {"type": "labelmap", "compression": "jpeg-ls"}},
    "pictures": {"objects": ["seg", "sr", "sc"], "sc": {"form": "multi-frame"}},
    "all fallbacks": {"fallback": ["sr", "comprehensive-sr", "enhanced-sr", "sc"]},
    "no fallback": {"fallback": [], "objects": ["sr"]},
    "no report": {"objects": ["seg"]},
}


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    # A lesion that overlaps both lungs wants more pixels than other fixtures have.
    return make_series(tmp_path_factory.mktemp("grid"), shape_kji=(6, 40, 36))


def result_files(ct, setup, folder, make):
    """Make the results of a pipeline for findings that are made up."""
    workspace, watch = Workspace(folder), Stopwatch("chest")
    assemble(workspace, open_series(ct, setup.keywords), setup, watch)
    findings = make(ct)
    workspace.save_findings(findings.findings)
    return findings.context.series_instance_uid, write_results(
        workspace,
        setup,
        series_instance_uid=findings.context.series_instance_uid,
        revision=1,
        created=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        watch=watch,
    )


@pytest.mark.parametrize("options", DESTINATIONS.values(), ids=DESTINATIONS.keys())
def test_what_a_destination_is_proposed_and_sent_is_what_is_stated(tmp_path, ct, options):
    """A destination that refuses every object for good gets to see all that there is for it."""
    with FlakyPacs() as pacs:
        pacs.refuse(0xA900)
        config = settings(
            tmp_path,
            pipelines={"chest": {"ae_title": "CHEST", "destinations": ["pacs"]}},
            destinations={
                "pacs": {"kind": "dimse", "ae_title": "PACS", "host": "127.0.0.1"}
                | {"port": pacs.port}
                | options
            },
        )
        deliver(config, ct, tmp_path / "plain", make_findings)
        if config.destinations["pacs"].seg.type == "labelmap":
            deliver(config, ct, tmp_path / "overlapping", make_overlapping)
        found = {f"{uid} {','.join(syntaxes)}" for uid, syntaxes in pacs.proposed}

    statement = Statement(write_statement(config))
    assert statement.proposed("7.2.1", "CHEST") == {("Storage", "pacs"): found}


def deliver(config, ct, folder, make):
    """Deliver the results of one series to a destination that takes none of them."""
    (setup,) = build_setups(config).values()
    uid, contents = result_files(ct, setup, folder / "work", make)
    database, outbox = open_database("sqlite", data_dir=folder), Outbox(folder)
    revision = SeriesRevision(
        pipeline="chest", series_instance_uid=uid, revision=1, digest="0123456789abcdef"
    )
    job = revision.job_id(setup.version)
    with database.begin() as transaction:
        create_job(transaction, job, revision)
        files = {name: outbox.write(job, name, content) for name, content in contents.items()}
        set_job(transaction, job, state="done", files=files)
        open_delivery(transaction, job, "pacs")
    delivery = Delivery(database, outbox, config.destinations, {"chest": "CHEST"}, {})
    assert delivery.attempt(job, "pacs", 1) == "parked"
    database.close()


def test_commitment_is_asked_for_as_is_stated(tmp_path):
    config = two_pipelines(tmp_path)
    stated = Statement(write_statement(config)).proposed("7.2.1", "CHEST")
    with listening(STORAGE_COMMITMENT_PUSH, handlers=[(evt.EVT_N_ACTION, _take)]) as (to, seen, _):
        request_commitment(
            "1.2.3",
            [(CT_IMAGE, "1.2.4")],
            to=to,
            calling_ae_title="CHEST",
            timeout_seconds=10,
            linger_seconds=0.0,
            on_report=lambda _: None,
        )

    assert set(seen) == stated["Storage Commitment, request", "pacs"]


def _take(_event):
    return 0x0000, None


def test_commitment_is_reported_as_is_stated(tmp_path):
    handlers = [(evt.EVT_N_EVENT_REPORT, lambda _: (0x0000, None))]
    role = {"scu_role": False, "scp_role": True}
    with listening(STORAGE_COMMITMENT_PUSH, handlers=handlers, role=role) as (to, seen, roles):
        peer = CommitmentPeer(ae_title="PEER", host=to.host, port=to.port)
        shared = plain(tmp_path)
        peers = shared.receive.commitment.model_copy(update={"peers": (peer,)})
        config = receiver(shared, commitment=peers)
        information = Dataset()
        information.TransactionUID = "1.2.3"
        call_back(
            peer, calling_ae_title="CHEST", timeout_seconds=10, kind=1, information=information
        )

    statement = Statement(write_statement(config))
    assert statement.proposed("7.2.1", "CHEST") == {
        ("Storage Commitment, report", "PEER"): set(seen)
    }
    assert roles == {STORAGE_COMMITMENT_PUSH: (False, True)}


def test_an_archive_is_asked_for_a_count_as_is_stated(tmp_path):
    keys = []

    def find(event):
        keys.extend(each.keyword for each in event.identifier)
        yield 0x0000, None

    with listening(STUDY_ROOT_FIND, handlers=[(evt.EVT_C_FIND, find)]) as (to, seen, _):
        query = {"host": to.host, "port": to.port, "ae_title": "PEER"}
        config = plain(tmp_path, completion={"expected_count": query})
        count_series_instances(
            to,
            calling_ae_title="CHEST",
            study_instance_uid="1.2",
            series_instance_uid="1.2.3",
            timeout_seconds=10,
        )

    statement = Statement(write_statement(config))
    stated = statement.table("5.2.7 Query/Retrieve Service", "key")
    assert statement.proposed("7.2.1", "CHEST") == {
        ("Study Root FIND", "the archive that is asked"): set(seen)
    }
    assert sorted(each.lower() for each in keys) == sorted(
        row["key"].split(" (")[0].replace(" ", "").replace("/", "").lower() for row in stated
    )
