"""A long campaign of mutated streams against the receiver; run by `make test-slow`.

``FUZZ_INPUTS`` and ``FUZZ_SEED`` in the environment change its length and its course.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import socket
import threading
from pathlib import Path

import pytest

from tests.support.node import wait_until
from tests.support.scp import running_receiver
from tests.support.wire import (
    COMMITMENT,
    CT,
    RELEASE_RQ,
    associate_rq,
    c_store,
    command,
    connect,
    ct_data_set,
    open_association,
    pdu,
    pdv,
    read_pdu,
    read_to_end,
    status_of,
)

CORPUS = Path(__file__).resolve().parents[1] / "data" / "fuzz"
SENDERS = 4


def streams():
    request = associate_rq(contexts=(CT, COMMITMENT))
    store = c_store(ct_data_set("1.2.3.4", pixels=3000), uid="1.2.3.4", fragment_bytes=1000)
    echo = pdu(0x04, pdv(0x03, command(0x0030, has_data=False), context_id=5))
    yield request + store + RELEASE_RQ
    yield request + echo + store + store + RELEASE_RQ
    for each in sorted(CORPUS.glob("*.pdus")):
        yield each.read_bytes()
    for each in sorted(CORPUS.glob("*.dataset")):
        yield request + c_store(each.read_bytes(), uid="1.2.3.4") + RELEASE_RQ


def mutated(stream, chance):
    """Change bytes, cut, repeat or drop parts: as network faults and ill will do."""
    content = bytearray(stream)
    for _ in range(chance.randint(1, 8)):
        if not content:
            return b""
        at = chance.randrange(len(content))
        length = chance.choice((1, 2, 4, 16, 200))
        match chance.randrange(6):
            case 0 | 1:
                content[at] = chance.randrange(256)
            case 2:
                content[at : at + length] = bytes(chance.choices((0, 1, 0x7F, 0xFF), k=length))
            case 3:
                del content[at : at + length]
            case 4:
                content[at:at] = content[at : at + length]
            case 5:
                del content[at:]
    return bytes(content)


def resources():
    gc.collect()
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_campaign_of_mutated_streams_does_no_harm(tmp_path, capsys):
    inputs = int(os.environ.get("FUZZ_INPUTS", "3000"))
    seed = int(os.environ.get("FUZZ_SEED", "20"))
    bases = list(streams())
    deaths = []
    threading.excepthook, before = deaths.append, threading.excepthook
    seconds = {f"{each}_timeout_seconds": 1.0 for each in ("acse", "dimse", "network")}
    try:
        with running_receiver(tmp_path, max_associations=64, **seconds) as receiver:

            def serves():
                with open_association(receiver.port) as peer:
                    peer.sendall(c_store(ct_data_set("1.2.3.100"), uid="1.2.3.100"))
                    status = status_of(read_pdu(peer)[1])
                    peer.sendall(RELEASE_RQ)
                    return status == 0x0000 and read_to_end(peer) == [0x06]

            def attack(number):
                chance = random.Random(seed * 1000 + number)  # noqa: S311 - repeatable
                for _ in range(inputs // SENDERS):
                    with connect(receiver.port) as peer, contextlib.suppress(OSError):
                        peer.sendall(mutated(chance.choice(bases), chance))
                        if chance.random() < 0.9:
                            peer.shutdown(socket.SHUT_WR)
                            read_to_end(peer)

            assert serves()
            start = resources()
            senders = [threading.Thread(target=attack, args=(n,)) for n in range(SENDERS)]
            for each in senders:
                each.start()
            while any(each.is_alive() for each in senders):
                assert serves()
                senders[0].join(1.0)
            wait_until(
                lambda: all(now <= then for now, then in zip(resources(), start, strict=True)),
                30,
                f"threads and descriptors are back at {start}",
            )
            assert serves()
    finally:
        threading.excepthook = before
    with capsys.disabled():
        print(f"\n{inputs} inputs, seed {seed}, {len(deaths)} threads died")  # noqa: T201 - the counts
    assert deaths == []
