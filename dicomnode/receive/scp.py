"""The Storage and Verification SCP: listener, associations, drain.  Who may come is `admission`'s.

Threads: one accepts; each association has the library's two.  The sink is called from those of the
associations; only the end of an association that was lost unseen is told from the accepting one.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from pynetdicom import AE, evt
from pynetdicom.association import Association

from dicomnode.config import ReceiveConfig
from dicomnode.errors import ConfigError, ReceiveError
from dicomnode.log import get_logger
from dicomnode.metrics import ASSOCIATIONS, REJECTIONS
from dicomnode.receive.acceptance import DEFAULT_POLICY, StorePolicy, supported_contexts
from dicomnode.receive.admission import NO_REASON, Admission, Admitted, Rejected
from dicomnode.receive.associations import OpenAssociations
from dicomnode.receive.commitment import Commitments
from dicomnode.receive.commitment_reports import TakeReport, ignore_report, take_event_report
from dicomnode.receive.identity import Users
from dicomnode.receive.limits import Limits
from dicomnode.receive.listener import Listener
from dicomnode.receive.reactor import request_handler
from dicomnode.receive.recurring import Recurring
from dicomnode.receive.seats import Seats
from dicomnode.receive.sink import InstanceSink
from dicomnode.receive.store import (
    NoteIgnored,
    Reception,
    StoreCommand,
    StoreHandler,
    StoreRequest,
)
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine
from dicomnode.standard.sop_classes import VERIFICATION
from dicomnode.standard.status import ActionStatus, StoreStatus
from dicomnode.standard.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.tls import ServerContexts

__all__ = ("InstanceSink", "StorageSCP")

_POLL_SECONDS: Final = 0.2
_SPARE_CONNECTIONS: Final = 64
"""Connections beyond the limit of associations that may stand while they wait for a rejection."""

_SPARE_PER_PEER: Final = 16
"""Of these, so many from one address: a peer that opens and says nothing leaves room for others."""

_log = get_logger(__name__)


class StorageSCP:
    """One listener for all called AE titles.

    Parameters
    ----------
    config : ReceiveConfig
    pipelines : mapping
        Called AE title -> pipeline.
    store : InstanceStore
    quarantine : Quarantine
    sink : InstanceSink
    on_commitment : callable, optional
        Told the answers to our own requests for storage commitment.
    commitment : Commitments, optional
        Without it storage commitment is not negotiated.
    policies : mapping, optional
        By pipeline, what is stored; CT without.
    limits : Limits, optional
        Those of the configuration, without quotas, by default.
    ignored : callable, optional
        Told of instances that are acknowledged and ignored.
    seats : Seats, optional
        Where associations are counted; those of this process alone by default.
    listening : socket.socket, optional
        One to accept on, in place of address and port of the configuration.

    Raises
    ------
    ConfigError
        If the password file of a user cannot be used.
    """

    def __init__(
        self,
        config: ReceiveConfig,
        *,
        pipelines: Mapping[str, str],
        store: InstanceStore,
        quarantine: Quarantine,
        sink: InstanceSink,
        on_commitment: TakeReport = ignore_report,
        commitment: Commitments | None = None,
        policies: Mapping[str, StorePolicy] | None = None,
        limits: Limits | None = None,
        ignored: NoteIgnored | None = None,
        seats: Seats | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        self._config = config
        self._listening = listening
        self._on_commitment = on_commitment
        self._policies = dict(policies or {})
        self._limits = limits or Limits(
            store,
            max_instance_bytes=config.max_instance_bytes,
            headroom_bytes=config.headroom_bytes,
        )
        self._handler = StoreHandler(
            store=store,
            quarantine=quarantine,
            sink=sink,
            policies=self._policies,
            limits=self._limits,
            ignored=ignored,
        )
        admission = Admission(
            pipelines=pipelines,
            allowed_callers=config.allowed_callers,
            max_associations=config.max_associations,
            max_associations_per_peer=config.max_associations_per_peer,
        )
        self._max_per_peer = admission.max_per_peer
        self._open = OpenAssociations(admission, self._limits, sink, seats=seats)
        self._commitment = commitment
        self._polled_at = time.monotonic()
        self._rejections = Recurring()
        self._users = Users(config.users)
        self._server: Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on, the real one where the configuration says 0.

        Raises
        ------
        RuntimeError
            If it is not started.
        """
        if self._server is None:
            raise RuntimeError("the storage SCP is not started")
        return int(self._server.server_address[1])

    def open_associations(self) -> int:
        """Return how many associations are admitted and not ended."""
        return len(self._open)

    def silent_seconds(self) -> float:
        """Return for how long the accepting thread has not come round; infinite if it has ended."""
        is_accepting = self._thread is not None and self._thread.is_alive()
        return time.monotonic() - self._polled_at if is_accepting else float("inf")

    def _poll(self) -> None:
        self._polled_at = time.monotonic()
        self._open.sweep()

    def start(self) -> None:
        """Bind and listen.

        Raises
        ------
        ConfigError
            If address and port cannot be listened on, or the certificates not be used.
        """
        config = self._config
        ae = AE()
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_pdu_size = config.max_pdu_bytes
        ae.acse_timeout = config.acse_timeout_seconds
        ae.dimse_timeout = config.dimse_timeout_seconds
        ae.network_timeout = config.network_timeout_seconds
        # Admission has the limit; the library counts ended threads too and must not interfere.
        ae.maximum_associations = config.max_associations + 2 * _SPARE_CONNECTIONS
        tls = ServerContexts(config.tls, path="receive.tls") if config.tls is not None else None
        try:
            server = Listener(
                ae,
                (config.host, config.port),
                handlers=[
                    (evt.EVT_REQUESTED, self._on_requested),
                    (evt.EVT_RELEASED, self._open.on_ended),
                    (evt.EVT_ABORTED, self._open.on_ended),
                    (evt.EVT_C_STORE, self._on_store),
                    (evt.EVT_N_EVENT_REPORT, take_event_report, [self._on_commitment]),
                    (evt.EVT_N_ACTION, self._on_action),
                ],
                max_connections=config.max_associations + _SPARE_CONNECTIONS,
                request_handler=(
                    request_handler(self._begin_store) if config.data_path == "fast" else None
                ),
                max_connections_per_peer=self._max_per_peer + _SPARE_PER_PEER,
                max_data_set_bytes=self._limits.max_instance_bytes,
                tls=tls,
                listening=self._listening,
                on_poll=self._poll,
            )
        except OSError as error:
            where = f"{config.host} port {config.port}"
            fault = f"receive.port: cannot listen on {where}: {error.strerror or error}"
            raise ConfigError((fault,)) from error
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever,
            kwargs={"poll_interval": _POLL_SECONDS},
            name="receive-accept",
            daemon=True,
        )
        self._thread.start()
        _log.info("receive_listening", host=config.host, port=self.port)

    def stop(self, drain_seconds: float) -> None:
        """Take no new associations, let open ones end, abort those that do not.

        Parameters
        ----------
        drain_seconds : float
            How long open associations may go on.
        """
        if self._server is None or self._thread is None:
            return
        self._open.begin_drain()
        server, self._server = self._server, None
        server.shutdown()
        self._thread.join()
        aborted = 0
        if not self._open.wait_until_none_open(drain_seconds):
            aborted = self._open.abort_all()
        _log.info("receive_stopped", aborted=aborted)

    def _on_requested(self, event: evt.Event) -> None:
        """Admit or reject, in the library's own hook for it, before it negotiates."""
        assoc = event.assoc
        request: Any = assoc.requestor.primitive
        try:
            identity = assoc.requestor.user_identity
            decision = self._users.decide(identity) or self._open.admit(assoc, request)
            if identity is not None:
                self._users.confirm(assoc, identity)
            if isinstance(decision, Admitted):
                proposed = request.presentation_context_definition_list
                wanted = [str(each.abstract_syntax) for each in proposed]
                if decision.verification_only:
                    wanted = [each for each in wanted if each == VERIFICATION]
                assoc.acceptor.supported_contexts = supported_contexts(
                    wanted,
                    policy=self._policies.get(decision.pipeline, DEFAULT_POLICY),
                    commitment=self._commitment is not None,
                    takes_reports=self._on_commitment is not ignore_report,
                )
        except Exception:  # noqa: BLE001 - see below
            # The library logs what is raised here, no more, and would accept the association.
            _log.exception("admission_failed")
            self._open.forget(assoc)
            decision = NO_REASON
        if isinstance(decision, Rejected):
            self._tell_rejection(assoc, request, decision)
            assoc.acse.send_reject(decision.result, decision.source, decision.reason)
            # Returns when the peer has closed, or the ARTIM timer expired (PS3.8 9.2, AR-7).
            assoc.kill()

    def _tell_rejection(self, assoc: Association, request: Any, decision: Rejected) -> None:
        ASSOCIATIONS.labels("rejected").inc()
        REJECTIONS.labels(decision.name).inc()
        host = assoc.requestor.address
        unsaid = self._rejections.ask(f"{host} {decision.source} {decision.reason}")
        if unsaid is None:
            return
        _log.warning(
            "association_rejected",
            called_ae_title=request.called_ae_title,
            calling_ae_title=request.calling_ae_title,
            host=host,
            result=decision.result,
            source=decision.source,
            reason=decision.reason,
            words=decision.words,
            unsaid=unsaid,
        )

    def _begin_store(self, assoc: Association, command: StoreCommand) -> Reception:
        caller = self._open.caller(assoc)
        if caller is None:
            # It was given up meanwhile; the library's thread catches this and aborts.
            raise ReceiveError("a C-STORE on an association that is not open")
        return self._handler.begin(command, caller)

    def _on_store(self, event: evt.Event) -> int:
        caller = self._open.caller(event.assoc)
        if caller is None:
            _log.error("store_without_association")
            return StoreStatus.OUT_OF_RESOURCES
        command: Any = event.request
        data_set = command.DataSet
        return self._handler.handle(
            StoreRequest(
                sop_class_uid=str(command.AffectedSOPClassUID),
                sop_instance_uid=str(command.AffectedSOPInstanceUID),
                context_sop_class_uid=str(event.context.abstract_syntax),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                data_set=b"" if data_set is None else data_set.getvalue(),
            ),
            caller,
        )

    def _on_action(self, event: evt.Event) -> tuple[int, None]:
        caller = self._open.caller(event.assoc)
        if caller is None or self._commitment is None:
            _log.error("action_without_association")
            return ActionStatus.PROCESSING_FAILURE, None
        return self._commitment.ask(event, caller), None
