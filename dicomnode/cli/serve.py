"""``dicomnode serve``: the whole node on this machine, until a signal ends it."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

from dicomnode import log
from dicomnode.cli.output import ConfigOption, Exit, errors_as_exits, facts, talk
from dicomnode.config import LogConfig, find_file, load
from dicomnode.node.composition import ALL_ROLES, Node, Role
from dicomnode.pipeline.enqueue import QUEUES
from dicomnode.stopping import StopRequest


class _Stopped(BaseException):
    """A signal came before the node was up."""


class _Signals:
    """SIGTERM and Ctrl-C: an interruption while starting, a request to drain afterwards."""

    def __init__(self) -> None:
        self.stop = StopRequest()
        self._is_up = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def up(self) -> None:
        """From now on a signal asks for a drain."""
        self._is_up = True

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_up:
            raise _Stopped
        self.stop.make()


def serve(config: ConfigOption = None) -> None:
    """Receive, analyze, send: the whole node. Ctrl-C or SIGTERM drains and stops it."""
    run_roles(config, ALL_ROLES)


def run_roles(
    config: Path | None, roles: frozenset[Role], *, queues: tuple[str, ...] = QUEUES
) -> None:
    """Run roles of a node until a signal, then drain and stop them.

    Raises
    ------
    typer.Exit
        If it cannot be started, or was replaced by another process while it was cut off.
    """
    with errors_as_exits():
        settings = load(find_file(config))
        _configure_log(settings.log)
        signals = _Signals()
        lost = threading.Event()

        def on_lost() -> None:
            lost.set()
            signals.stop.make()

        node = Node(settings, roles=roles, queues=queues, on_lost=on_lost)
        try:
            node.start()
        except _Stopped:
            talk.print("stopped before it was ready")
            return
        gc.freeze()  # what stays anyway need not be looked through time and again
        signals.up()
        for endpoint in node.endpoints:
            facts.print(f"{endpoint.what}: {endpoint.where}", markup=False, soft_wrap=True)
        facts.print("ready", markup=False)
        sys.stdout.flush()
        signals.stop.wait()
        talk.print("draining")
        node.stop()
        talk.print("stopped")
        sys.stderr.flush()
        if lost.is_set():
            _end_at_once(Exit.UNAVAILABLE)
        if any(thread.name.startswith("dbos-executor") for thread in threading.enumerate()):
            # A step that outlasted the drain: it is resumed by the next start, and not waited for.
            _end_at_once(Exit.OK)


def _end_at_once(code: Exit) -> NoReturn:
    sys.stdout.flush()
    os._exit(code)


def _configure_log(config: LogConfig) -> None:
    """Set logging up as configured; for people on a terminal, as JSON else."""
    log.configure(form=_form(config), level=config.level)


def _form(config: LogConfig) -> log.Form:
    if config.form != "auto":
        return config.form
    return "console" if sys.stderr.isatty() else "json"
