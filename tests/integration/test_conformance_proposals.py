"""What the node proposes to its peers, and sends them, is what the conformance statement says."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicomnode.config import CommitmentPeer
from dicomnode.conformance.statement import write_statement
from dicomnode.database import open_database
from dicomnode.database.delivery_rows import open_delivery
from dicomnode.database.job_rows import create_job, set_job
from dicomnode.imaging.contents import open_series
from dicomnode.model.series import SeriesRevision
from dicomnode.pipeline.analysis import Stopwatch, assemble, write_results
from dicomnode.pipeline.delivery import Delivery
from dicomnode.pipeline.setup import build_setups
from dicomnode.receive.commitment_report import call_back
from dicomnode.send.commitment_scu import request_commitment
from dicomnode.send.find_scu import count_series_instances
from dicomnode.spool.results import Outbox
from dicomnode.spool.workspace import Workspace
from dicomnode.standard.ae import AEAddress
from dicomnode.standard.sop_classes import CT_IMAGE, STORAGE_COMMITMENT_PUSH, STUDY_ROOT_FIND
from tests.support.ct import make_series
from tests.support.findings import make_findings, make_overlapping
from tests.support.pacs import FlakyPacs
from tests.support.receiving import plain, receiver, settings, two_pipelines
from tests.support.statement import Statement


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
