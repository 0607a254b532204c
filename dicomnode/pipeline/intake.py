"""Instances that come as files, not over an association: taken as durably as by C-STORE.

The same checks, limits and quarantine, and a file counts as taken when its sender at an association
would be told Success.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, Final, Literal

from dicomnode.config import PipelineConfig
from dicomnode.database import Database
from dicomnode.database.series_rows import record_instance
from dicomnode.errors import DuplicateInstance, InstanceUnreadable
from dicomnode.model.instance import InstanceRef
from dicomnode.receive.acceptance import StorePolicy
from dicomnode.receive.sink import InstanceSink
from dicomnode.receive.store import Caller, StoreCommand, StoreHandler
from dicomnode.spool.part10 import read_file_meta
from dicomnode.standard.sop_classes import CT_TRANSFER_SYNTAXES
from dicomnode.standard.status import StoreStatus, describe_store_status

CALLING_AE_TITLE: Final = "CONSOLE-UPLOAD"
"""Stands where that of an association would."""

_CHUNK_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of one file.

    Attributes
    ----------
    outcome : {"stored", "ignored", "refused"}
        Ignored: well formed, of a class that the pipeline does not store.
    words : str
    sop_instance_uid : str
        Empty where it could not be read.
    status : int or None
        What C-STORE would have answered (PS3.4 B.2.3); None for what is no DICOM file.
    """

    outcome: Literal["stored", "ignored", "refused"]
    words: str
    sop_instance_uid: str = ""
    status: int | None = None


class RowSink:
    """Records each instance at once, for a process that closes no series itself.

    A receiver on the same database finds the open series, and closes it after its quiet time.

    Parameters
    ----------
    database : Database
    pipelines : mapping of str to PipelineConfig
    """

    def __init__(self, database: Database, pipelines: Mapping[str, PipelineConfig]) -> None:
        self._database = database
        self._pipelines = pipelines

    def association_opened(
        self, association_id: str, *, pipeline: str, calling_ae_title: str
    ) -> None:
        """Nothing to do: nobody here waits for its end."""

    def instance_stored(
        self, pipeline: str, ref: InstanceRef, *, calling_ae_title: str, association_id: str
    ) -> bool:
        """Record an instance.

        Raises
        ------
        DuplicateInstance
            If another data set of this SOP Instance UID is kept, and the pipeline refuses such.
        """
        del association_id
        duplicates = self._pipelines[pipeline].duplicates
        with self._database.begin() as transaction:
            recorded = record_instance(
                transaction,
                pipeline,
                ref,
                calling_ae_title=calling_ae_title,
                at=datetime.now(UTC),
                duplicates=duplicates,
            )
        if recorded.digest == ref.digest:
            return True
        if duplicates == "refuse":
            raise DuplicateInstance("another data set is stored under this SOP Instance UID")
        return False

    def association_ended(
        self, association_id: str, *, pipeline: str, how: Literal["released", "aborted"]
    ) -> None:
        """Nothing to do."""


class FileIntake:
    """Takes files into pipelines.

    Parameters
    ----------
    handler : StoreHandler
        Stores them as it stores what comes over an association.
    sink : InstanceSink
        Of that handler.
    policies : mapping of str to StorePolicy
        By pipeline.
    """

    def __init__(
        self, handler: StoreHandler, sink: InstanceSink, policies: Mapping[str, StorePolicy]
    ) -> None:
        self._handler = handler
        self._sink = sink
        self._policies = policies

    def open(self, pipeline: str, *, host: str) -> Batch:
        """Begin to take files that belong together; the batch must be closed.

        Parameters
        ----------
        pipeline : str
        host : str
            Where they come from.
        """
        caller = Caller(
            association_id=f"upload-{uuid.uuid4().hex[:12]}",
            pipeline=pipeline,
            calling_ae_title=CALLING_AE_TITLE,
            called_ae_title=pipeline[:16],
            host=host,
        )
        return Batch(self._handler, self._sink, self._policies[pipeline], caller)


class Batch:
    """Files of one upload; as one association, as far as the completion of series goes."""

    def __init__(
        self, handler: StoreHandler, sink: InstanceSink, policy: StorePolicy, caller: Caller
    ) -> None:
        self._handler = handler
        self._sink = sink
        self._policy = policy
        self._caller = caller
        sink.association_opened(
            caller.association_id,
            pipeline=caller.pipeline,
            calling_ae_title=caller.calling_ae_title,
        )

    def take(self, file: BinaryIO) -> Taken:
        """Store the DICOM file that `file` holds from its beginning; on return it is durable.

        Returns
        -------
        Taken
            A refused file is an outcome, no exception.
        """
        file.seek(0)
        try:
            meta = read_file_meta(file)
        except InstanceUnreadable:
            return Taken(outcome="refused", words="no DICOM file (PS3.10 7)")
        uid, sop_class_uid = meta.sop_instance_uid, meta.sop_class_uid
        if not self._policy.is_negotiated(sop_class_uid):
            words = f"the pipeline takes no instances of class {sop_class_uid}"
            return Taken(outcome="refused", words=words, sop_instance_uid=uid)
        if meta.transfer_syntax_uid not in CT_TRANSFER_SYNTAXES and self._policy.is_stored(
            sop_class_uid
        ):
            words = f"the transfer syntax {meta.transfer_syntax_uid} cannot be decoded here"
            return Taken(outcome="refused", words=words, sop_instance_uid=uid)
        command = StoreCommand(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=uid,
            context_sop_class_uid=sop_class_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
        )
        reception = self._handler.begin(command, self._caller)
        file.seek(meta.data_set_offset)
        while chunk := file.read(_CHUNK_BYTES):
            reception.write(chunk)
        status = reception.finish()
        if reception.is_ignored and status == StoreStatus.SUCCESS:
            words = f"not stored by this pipeline: class {sop_class_uid}"
            return Taken(outcome="ignored", words=words, sop_instance_uid=uid, status=status)
        words = describe_store_status(status)
        if reception.reason is not None:
            words = f"{words}: {reception.reason}"
        stored = status == StoreStatus.SUCCESS
        return Taken(
            outcome="stored" if stored else "refused",
            words="stored" if stored else words,
            sop_instance_uid=uid,
            status=status,
        )

    def close(self, *, is_whole: bool) -> None:
        """End the batch; if it is not whole, series wait their quiet time for the rest."""
        self._sink.association_ended(
            self._caller.association_id,
            pipeline=self._caller.pipeline,
            how="released" if is_whole else "aborted",
        )
