"""Several receiver processes behind one port: starting, watching, replacing, ending them.

This process is the first of them; `receiver_process` is what the others run.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dicomnode import log
from dicomnode.config import Config
from dicomnode.errors import ConfigError, StateError
from dicomnode.log import get_logger
from dicomnode.metrics.page import Shared
from dicomnode.node.foundation import Foundation
from dicomnode.node.receiver import Receiver, start_receiver
from dicomnode.node.receiver_process import READY, Order
from dicomnode.receive.seats import SharedSeats

_START_SECONDS: Final = 60.0
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_STEADY_SECONDS: Final = 60.0
"""Who lived so long and dies is replaced at once."""

_BEYOND_DRAIN_SECONDS: Final = 20.0
"""Aborting what is left, and closing."""

_BACKLOG: Final = 128

# Not by -m: the module is imported here too, and would be there twice.
PROGRAM: Final = (
    "from dicomnode.receive.decoders import keep_decoders_out; keep_decoders_out(); "
    "from dicomnode.node.receiver_process import main; main()"
)

_log = get_logger("node")


def start_receivers(base: Foundation, *, counted: Shared | None = None) -> Receiver:
    """Start a receiver, and as many further processes as are configured.

    Parameters
    ----------
    base : Foundation
    counted : Shared, optional
        What the further processes count into.

    Returns
    -------
    Receiver
        The one in this process.

    Raises
    ------
    ConfigError
        If address and port cannot be listened on.
    StateError
        If a further process does not come up.
    """
    config = base.config
    if config.receive.processes == 1:
        return start_receiver(base)
    listening = _listen(config)
    base.parts.callback(listening.close)
    seats = SharedSeats(SharedSeats.create(config.receive.max_associations), process=1)
    base.parts.callback(seats.close)
    others = ReceiverProcesses(config, listening, seats, counted)
    # In this order all drain at the same time: the others are asked, this one drains, the others
    # are waited for.
    base.parts.callback(others.wait)
    base.parts.callback(others.drain)
    others.start()
    receiver = start_receiver(base, listening=listening.dup(), seats=seats)
    base.parts.callback(others.drain)
    others.go(receiver.take_over)
    return receiver


def _listen(config: Config) -> socket.socket:
    where = config.receive.host, config.receive.port
    try:
        family = socket.getaddrinfo(*where, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server(where, family=family, backlog=_BACKLOG)
    except OSError as error:
        fault = (
            f"receive.port: cannot listen on {where[0]} port {where[1]}: {error.strerror or error}"
        )
        raise ConfigError((fault,)) from error


@dataclass
class _Child:
    """One of the further processes, or the place of one that died."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    is_ready: threading.Event = field(default_factory=threading.Event)


class ReceiverProcesses:
    """The further processes, each watched by a thread.

    Parameters
    ----------
    config : Config
    listening : socket.socket
        They accept on it too.
    seats : SharedSeats
    counted : Shared or None
        What they count into.
    """

    def __init__(
        self,
        config: Config,
        listening: socket.socket,
        seats: SharedSeats,
        counted: Shared | None,
    ) -> None:
        self._config = config
        self._listening = listening
        self._seats = seats
        self._take_over: Callable[[], None] = lambda: None
        self._counted = counted
        self._lock = threading.Lock()
        self._draining = threading.Event()
        self._going = threading.Event()
        self._children = [_Child(number) for number in range(2, config.receive.processes + 1)]
        self._watchers = [
            threading.Thread(
                target=self._watch, args=(each,), name=f"receiver-{each.number}", daemon=True
            )
            for each in self._children
        ]

    def start(self) -> None:
        """Start them; they get ready, and wait for `go`."""
        for each in self._watchers:
            each.start()

    def go(self, take_over: Callable[[], None]) -> None:
        """Let them receive, now that what an earlier run left out is recorded; return when they do.

        Parameters
        ----------
        take_over : callable
            Records what dead receivers acknowledged, and lets their series be closed.

        Raises
        ------
        StateError
            If they do not come up in time.
        """
        self._take_over = take_over
        self._going.set()
        deadline = time.monotonic() + _START_SECONDS
        for each in self._children:
            if not each.is_ready.wait(max(0.0, deadline - time.monotonic())):
                raise StateError(
                    f"receiver process {each.number} of {self._config.receive.processes} did not "
                    f"come up within {_START_SECONDS:g} s"
                )

    def drain(self) -> None:
        """Ask them to take no new associations and to end; return at once."""
        if self._draining.is_set():
            return
        self._draining.set()
        self._going.set()
        for each in self._children:
            with self._lock:
                if each.process is not None and each.process.stdin is not None:
                    each.process.stdin.close()
        # Else who connects from now on would wait in the queue until the last of them has ended.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)

    def wait(self) -> None:
        """Return when all have ended; who does not is killed."""
        deadline = time.monotonic() + self._config.drain_seconds + _BEYOND_DRAIN_SECONDS
        for child, watcher in zip(self._children, self._watchers, strict=True):
            if watcher.ident is None:
                continue
            watcher.join(max(0.0, deadline - time.monotonic()))
            process = child.process  # its watcher may forget it at any time
            if watcher.is_alive() and process is not None:
                _log.error("receiver_process_killed", number=child.number)
                process.kill()
                watcher.join()

    def _watch(self, child: _Child) -> None:
        """Start it, and again whenever it dies."""
        pause = _FIRST_PAUSE_SECONDS
        for attempt in itertools.count(1):
            began = time.monotonic()
            code = self._run(child)
            child.is_ready.clear()
            if self._draining.is_set():
                return
            if code is not None and not self._bury(child, code):
                return
            lived = time.monotonic() - began
            pause = _FIRST_PAUSE_SECONDS if lived > _STEADY_SECONDS else pause
            if self._draining.wait(pause):
                return
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            _log.info("receiver_process_restarted", number=child.number, attempt=attempt)

    def _bury(self, child: _Child, code: int) -> bool:
        """Take over what it left, before its successor takes its name; False on a drain."""
        freed = self._seats.clear(child.number)
        _log.error("receiver_process_died", number=child.number, code=code, associations=freed)
        while not self._try_to_take_over():
            if self._draining.wait(1.0):
                return False
        return True

    def _run(self, child: _Child) -> int | None:
        """Run it until it ends; return its exit status, None if it could not be started."""
        order = Order(
            config=self._config,
            log_form=log.form(),
            listening=self._listening.fileno(),
            seats=self._seats.descriptor,
            number=child.number,
        )
        with self._lock:
            if self._draining.is_set():
                return None
            try:
                process = child.process = self._start(order)
            except OSError as error:
                _log.error(
                    "receiver_process_not_started", number=child.number, error=error.strerror
                )
                return None
        if process.stdin is None or process.stdout is None:  # pragma: no cover  (asked for)
            raise StateError("a receiver process has no pipes")
        self._going.wait()
        try:
            process.stdin.write(order.model_dump_json().encode() + b"\n")
            process.stdin.flush()
        except (OSError, ValueError):
            _log.warning("receiver_process_not_told", number=child.number)  # dead, or draining
        if process.stdout.readline().strip() == READY.encode():
            child.is_ready.set()
            _log.info("receiver_process_ready", number=child.number)
        code = process.wait()
        if self._counted is not None:
            self._counted.forget(process.pid)
        process.stdout.close()
        with self._lock:
            process.stdin.close()
            child.process = None
        return code

    def _start(self, order: Order) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(order.listening, order.seats),
            env=os.environ | ({} if self._counted is None else self._counted.environment),
        )

    def _try_to_take_over(self) -> bool:
        try:
            self._take_over()
        except Exception as error:  # noqa: BLE001 - the database may be away; it is tried again
            _log.warning("receiver_not_taken_over", error=type(error).__name__)
            return False
        return True
