"""Shared memory as the inference server knows it: registered for a call, and taken back after it.

Thread-safe.  The memory itself is made in `shared_memory`.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import Any, Final

from numpy.typing import NDArray

from dicomnode.errors import InferenceError, InferenceTimeout, InferenceUnavailable
from dicomnode.inference.shared_memory import FOLDER, PREFIX, Region, abandoned_regions
from dicomnode.inference.statuses import ask
from dicomnode.log import get_logger

_log = get_logger(__name__)

# Below this a region costs more than the message it saves.
_SHARED_FROM_BYTES: Final = 1 << 20

_CALL_SECONDS: Final = 10.0

# A process that is killed leaves its regions to the others, which look this often.
_SWEEP_SECONDS: Final = 60.0


class RegisteredRegions:
    """The regions of one client.

    Parameters
    ----------
    client : tritonclient.grpc.InferenceServerClient
    address : str
        Of the server, for messages.
    allowed : bool
        Whether the server may see this host's memory.
    """

    def __init__(self, client: Any, *, address: str, allowed: bool) -> None:
        self._client = client
        self._address = address
        self._usable = threading.Event()
        self._told_full = threading.Event()
        self._held: set[str] = set()
        self._held_lock = threading.Lock()
        self._swept_at = float("-inf")
        if allowed and FOLDER.is_dir():
            self._usable.set()

    def lend(self, size_bytes: int, until: ExitStack) -> Region | None:
        """Make and register a region.

        Parameters
        ----------
        size_bytes : int
        until : contextlib.ExitStack
            Takes the region back when it closes.

        Returns
        -------
        Region or None
            None where the tensor should go by message: it is small, or there is no room, or the
            server cannot open our memory.

        Raises
        ------
        InferenceUnavailable, InferenceTimeout
            If the server does not answer at all.
        """
        if size_bytes < _SHARED_FROM_BYTES or not self._usable.is_set():
            return None
        try:
            region = Region(size_bytes)
        except OSError as error:
            # Not for good: another call may have taken the room for a while.
            if not self._told_full.is_set():
                self._told_full.set()
                _log.warning("shared_memory_full", wanted_bytes=size_bytes, error=error.strerror)
            return None
        until.callback(region.release)
        try:
            self._register(region)
        except (InferenceUnavailable, InferenceTimeout):
            raise
        except InferenceError as error:
            # A server that cannot open our memory (a container, another user) never will.
            self._usable.clear()
            _log.warning("shared_memory_refused", error=str(error))
            return None
        until.callback(self._unregister, region.name)
        return region

    def place(self, array: NDArray[Any], until: ExitStack) -> Region | None:
        """Lend a region that holds an array.

        Returns
        -------
        Region or None
            As `lend`.
        """
        region = self.lend(array.nbytes, until)
        if region is not None:
            region.as_array(array.shape, array.dtype)[...] = array
        return region

    def renew(self, region: Region) -> None:
        """Register a region again with a server that was started since it was lent.

        Raises
        ------
        InferenceError
        """
        if region.name not in self._ask(self._client.get_system_shared_memory_status).regions:
            self._register(region)

    def unregister_held(self) -> None:
        """Try again to take back what the server still used when it was asked to let go."""
        with self._held_lock:
            names, self._held = self._held, set()
        for name in names:
            self._unregister(name)

    def sweep_now_and_then(self) -> None:
        """Sweep if that is some time ago."""
        with self._held_lock:
            if time.monotonic() < self._swept_at + _SWEEP_SECONDS:
                return
            self._swept_at = time.monotonic()
        self.sweep()

    def sweep(self) -> None:
        """Take back what killed processes of this node left, here and in the server."""
        if not self._usable.is_set():
            return
        for path in abandoned_regions():
            self._unregister(f"/{path.name}")
            path.unlink(missing_ok=True)
            _log.info("shared_memory_swept", region=path.name)
        try:
            known = self._ask(self._client.get_system_shared_memory_status)
        except InferenceError as error:
            # A server without shared memory has none of ours, and answers all the same.
            _log.info("shared_memory_not_listed", error=str(error))
            return
        for name in known.regions:
            # A file that is gone was released by its owner while the server still used it.
            if name.startswith(f"/{PREFIX}") and not (FOLDER / name.lstrip("/")).exists():
                self._unregister(name)

    def _register(self, region: Region) -> None:
        self._ask(
            self._client.register_system_shared_memory,
            region.name,
            region.name,
            region.size_bytes,
        )

    def _unregister(self, name: str) -> None:
        """Have the server let go of a region, now or, if it still uses it, later."""
        try:
            self._ask(self._client.unregister_system_shared_memory, name)
        except InferenceError as error:
            # After our deadline the model may still be writing: Triton refuses until it is done.
            # A server that is gone holds nothing.
            if "in use" in str(error):
                with self._held_lock:
                    self._held.add(name)
            else:
                _log.info("shared_memory_not_unregistered", error=str(error))

    def _ask(self, call: Any, *arguments: Any) -> Any:
        return ask(
            lambda: call(*arguments, client_timeout=_CALL_SECONDS),
            address=self._address,
            timeout_sentence="shared memory: no answer in time",
        )
