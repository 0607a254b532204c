"""A further receiver process: what `receivers` starts, and how the two talk.

The first line of standard input is an
`Order`; the end of standard input, which the death of the parent brings about too, asks it to drain
and end, as SIGTERM does.  It answers ``ready``.
"""

from __future__ import annotations

import gc
import signal
import socket
import sys
import threading
from contextlib import ExitStack

from pydantic import BaseModel

from dicomnode import log
from dicomnode.config import Config
from dicomnode.node.foundation import lay_foundation
from dicomnode.node.receiver import start_receiver
from dicomnode.pipeline.setup import build_setups
from dicomnode.receive.seats import SharedSeats
from dicomnode.stopping import StopRequest

READY = "ready"


class Order(BaseModel):
    """What a further receiver is told.

    Attributes
    ----------
    config : Config
    log_form : str
        As the parent writes its log.
    listening, seats : int
        Descriptors that it inherits.
    number : int
        Among the processes that share the seats.
    """

    config: Config
    log_form: log.Form
    listening: int
    seats: int
    number: int


def main() -> None:
    """Receive until told to end."""
    order = Order.model_validate_json(sys.stdin.buffer.readline())
    log.configure(form=order.log_form, level=order.config.log.level)
    stop = StopRequest()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.make())
    threading.Thread(target=_await_end, args=(stop,), name="parent", daemon=True).start()
    with ExitStack() as parts:
        _start(order, parts)
        gc.freeze()  # what stays anyway need not be looked through time and again
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        stop.wait()


def _start(order: Order, parts: ExitStack) -> None:
    config = order.config
    base = lay_foundation(config, build_setups(config), parts, is_whole=False, loops={})
    seats = SharedSeats(order.seats, order.number)
    parts.callback(seats.close)
    listening = socket.socket(fileno=order.listening)
    start_receiver(base, listening=listening, seats=seats, restores=False)


def _await_end(stop: StopRequest) -> None:
    sys.stdin.buffer.read()
    stop.make()
