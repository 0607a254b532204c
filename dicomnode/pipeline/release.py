"""Out of quarantine: an object that an operator found usable goes on as if it had just come."""

from __future__ import annotations

from datetime import UTC, datetime

from dicomnode.database import Database
from dicomnode.database.series_rows import record_instance
from dicomnode.errors import StateError
from dicomnode.model.instance import InstanceRef
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.part10 import read_identity, read_stored
from dicomnode.spool.quarantine import Quarantine


def release_instance(
    quarantine: Quarantine, identifier: str, *, store: InstanceStore, database: Database
) -> InstanceRef:
    """Store and record a quarantined instance in the pipeline that it was sent to.

    The object stays in quarantine, as evidence of what was refused.

    Raises
    ------
    StateError
        If it is unknown, is not kept whole, or names no pipeline.
    InstanceUnreadable
        If it still cannot be understood.
    SpoolFull
        If there is no room for it.
    """
    item = quarantine.get(identifier)
    path = quarantine.path(identifier)
    if item.kept_bytes != item.size_bytes:
        raise StateError(
            f"of {identifier} only {item.kept_bytes} of {item.size_bytes} bytes are kept"
        )
    pipeline = item.facts.get("pipeline")
    key = item.facts.get("key", "")
    if pipeline is None and key.count("/") >= 2:
        pipeline = key.split("/")[1]
    if pipeline is None:
        raise StateError(f"{identifier} was sent to no pipeline that is on record")
    if "transfer_syntax_uid" in item.facts and "key" not in item.facts:
        # As it came over the network: a data set without file meta information.
        transfer_syntax_uid = item.facts["transfer_syntax_uid"]
        data_set = path.read_bytes()
        identity = read_identity(data_set, transfer_syntax_uid)
    else:
        meta, identity, data_set = read_stored(path)
        transfer_syntax_uid = meta.transfer_syntax_uid
    calling_ae_title = item.facts.get("calling_ae_title", "")
    ref = store.store(
        pipeline=pipeline,
        sop_class_uid=identity.sop_class_uid,
        sop_instance_uid=identity.sop_instance_uid,
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        calling_ae_title=calling_ae_title,
        data_set=data_set,
    )
    with database.begin() as transaction:
        record_instance(
            transaction,
            pipeline,
            ref,
            calling_ae_title=calling_ae_title,
            at=datetime.now(UTC),
        )
    return ref
