"""``dicomnode serve``: the whole node on this machine, until a signal ends it."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from dicomnode import log
from dicomnode.cli.output import ConfigOption, errors_as_exits, facts, talk
from dicomnode.config import LogConfig, find_file, load
from dicomnode.node import Node


class _Stopped(BaseException):
    """A signal came before the node was up."""


class _Signals:
    """SIGTERM and Ctrl-C: an interruption while starting, a request to drain afterwards."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._is_up = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def up(self) -> None:
        """From now on a signal asks for a drain."""
        self._is_up = True

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_up:
            raise _Stopped
        self.stop.set()


def serve(config: ConfigOption = None) -> None:
    """Receive, analyze, send: the whole node. Ctrl-C or SIGTERM drains and stops it."""
    with errors_as_exits():
        settings = load(find_file(config))
        _configure_log(settings.log)
        signals = _Signals()
        node = Node(settings)
        try:
            node.start()
        except _Stopped:
            talk.print("stopped before it was ready")
            return
        signals.up()
        for endpoint in node.endpoints:
            facts.print(f"{endpoint.what}: {endpoint.where}", markup=False, soft_wrap=True)
        facts.print("ready", markup=False)
        sys.stdout.flush()
        signals.stop.wait()
        talk.print("draining")
        node.stop()
        talk.print("stopped")


def _configure_log(config: LogConfig) -> None:
    """Set logging up as configured; for people on a terminal, as JSON else."""
    log.configure(form=_form(config), level=config.level)


def _form(config: LogConfig) -> log.Form:
    if config.form != "auto":
        return config.form
    return "console" if sys.stderr.isatty() else "json"
