"""A peer that accepts an association and aborts it at once, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pynetdicom import AE

from dicomnode.errors import AssociationUnavailable
from dicomnode.send import store_scu
from dicomnode.send.commitment_scu import request_commitment
from dicomnode.send.find_scu import count_series_instances
from dicomnode.send.store_scu import echo, send_instances
from dicomnode.standard.ae import AEAddress
from dicomnode.standard.sop_classes import (
    CT_IMAGE,
    STORAGE_COMMITMENT_PUSH,
    STUDY_ROOT_FIND,
    VERIFICATION,
)
from tests.support.ct import make_series
from tests.support.node import wait_until


@pytest.fixture
def aborting(monkeypatch: pytest.MonkeyPatch) -> Iterator[AEAddress]:
    ae = AE(ae_title="PACS")
    for sop_class in (VERIFICATION, STORAGE_COMMITMENT_PUSH, STUDY_ROOT_FIND, CT_IMAGE):
        ae.add_supported_context(sop_class)
    server = ae.start_server(("127.0.0.1", 0), block=False)

    def see_the_abort(assoc: Any, _seconds: float) -> None:
        for each in server.active_associations:
            each.abort()
        wait_until(lambda: not assoc.is_established, 10, "the abort came")

    # What comes between the association and the first request.
    monkeypatch.setattr(store_scu, "put_checkpoint", see_the_abort)
    yield AEAddress("PACS", "127.0.0.1", server.server_address[1])
    server.shutdown()


COMMON = {"calling_ae_title": "NODE", "timeout_seconds": 5.0}


def test_a_verification_is_unavailable(aborting: AEAddress):
    with pytest.raises(AssociationUnavailable, match="ended the association"):
        echo(aborting, **COMMON)


def test_a_query_is_unavailable(aborting: AEAddress):
    with pytest.raises(AssociationUnavailable, match="ended the association"):
        count_series_instances(
            aborting, study_instance_uid="1.2", series_instance_uid="1.2.3", **COMMON
        )


def test_a_request_for_commitment_is_unavailable(aborting: AEAddress):
    with pytest.raises(AssociationUnavailable, match="ended the association"):
        request_commitment(
            "1.2.4",
            [(CT_IMAGE, "1.2.3.4")],
            to=aborting,
            linger_seconds=0.1,
            on_report=lambda _report: None,
            **COMMON,
        )


def test_instances_are_unavailable(aborting: AEAddress, tmp_path):
    with pytest.raises(AssociationUnavailable, match="ended the association"):
        send_instances(make_series(tmp_path)[:1], to=aborting, **COMMON)
