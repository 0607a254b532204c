"""A small archive: a Storage and Verification SCP that keeps whatever it is sent in a folder.

It stands in for the PACS in the demo.  No admission, no database: not for use as an archive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pynetdicom import AE, evt

from dicomnode.errors import ConfigError
from dicomnode.log import get_logger
from dicomnode.receive.acceptance import supported_contexts
from dicomnode.receive.listener import Listener
from dicomnode.spool.durable import make_folder_durably, write_durably
from dicomnode.spool.part10 import encode_header
from dicomnode.standard.status import StoreStatus
from dicomnode.standard.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    is_valid_uid,
)

_MAX_CONNECTIONS: Final = 64
_POLL_SECONDS: Final = 0.2

_log = get_logger(__name__)


class Archive:
    """Keeps every instance it gets as ``<SOP Instance UID>.dcm``; the last of one UID stays.

    Parameters
    ----------
    folder : Path
        Made where it is absent.
    ae_title : str
        Its AE title; associations to any other are rejected.
    host : str
        Address to listen on.
    port : int
        Port to listen on; 0 takes a free one.
    """

    def __init__(
        self, folder: Path, *, ae_title: str = "ARCHIVE", host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._folder = folder
        self._ae_title = ae_title
        self._host = host
        self._port = port
        self._paths: list[Path] = []
        self._changed = threading.Condition()
        self._server: Listener | None = None

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises
        ------
        RuntimeError
            If it is not started.
        """
        if self._server is None:
            raise RuntimeError("the archive is not started")
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Bind and listen.

        Raises
        ------
        ConfigError
            If address and port cannot be listened on.
        """
        make_folder_durably(self._folder)
        ae = AE(ae_title=self._ae_title)
        ae.require_called_aet = True
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        try:
            self._server = Listener(
                ae,
                (self._host, self._port),
                handlers=[
                    (evt.EVT_REQUESTED, _offer_what_is_asked),
                    (evt.EVT_C_STORE, self._on_store),
                ],
                max_connections=_MAX_CONNECTIONS,
            )
        except OSError as error:
            message = f"the archive cannot listen on {self._host} port {self._port}: {error}"
            raise ConfigError((message,)) from error
        threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": _POLL_SECONDS},
            name="archive-accept",
            daemon=True,
        ).start()

    def stop(self) -> None:
        """Abort what is open and close the port."""
        if self._server is None:
            return
        server, self._server = self._server, None
        for assoc in server.active_associations:
            assoc.abort()
        server.shutdown()

    def wait_for(self, wanted: int | Callable[[list[Path]], bool], timeout: float) -> list[Path]:
        """Wait until enough instances are there.

        Parameters
        ----------
        wanted : int or callable
            How many instances, or a function that is told the files and says whether to go on.
        timeout : float
            Seconds to wait at the most.

        Returns
        -------
        list of Path
            The files, in the order they came.

        Raises
        ------
        TimeoutError
            If they did not come in time.
        """
        is_enough = wanted if callable(wanted) else lambda paths: len(paths) >= wanted
        deadline = time.monotonic() + timeout
        with self._changed:
            while not is_enough(list(self._paths)):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{len(self._paths)} instances came within {timeout:g} s")
                self._changed.wait(left)
            return list(self._paths)

    def _on_store(self, event: evt.Event) -> int:
        command: Any = event.request
        uid = str(command.AffectedSOPInstanceUID)
        if not is_valid_uid(uid) or command.DataSet is None:
            return StoreStatus.CANNOT_UNDERSTAND
        header = encode_header(
            sop_class_uid=str(command.AffectedSOPClassUID),
            sop_instance_uid=uid,
            transfer_syntax_uid=str(event.context.transfer_syntax),
            source_ae_title=str(event.assoc.requestor.ae_title),
        )
        path = self._folder / f"{uid}.dcm"
        try:
            write_durably(path, (header, command.DataSet.getvalue()))
        except OSError:
            _log.exception("archive_failed", sop_instance_uid=uid)
            return StoreStatus.OUT_OF_RESOURCES
        with self._changed:
            if path in self._paths:
                self._paths.remove(path)
            self._paths.append(path)
            self._changed.notify_all()
        return StoreStatus.SUCCESS


def _offer_what_is_asked(event: evt.Event) -> None:
    request: Any = event.assoc.requestor.primitive
    wanted = [str(each.abstract_syntax) for each in request.presentation_context_definition_list]
    event.assoc.acceptor.supported_contexts = supported_contexts(wanted)
