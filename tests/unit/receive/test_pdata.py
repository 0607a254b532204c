"""P-DATA-TF taken apart: what goes on, what is collected, what ends the association."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.receive.pdata import MessageStream, ProtocolFault
from tests.support.raw_sender import (
    COMMAND,
    CT,
    LAST,
    command_set,
    element,
    fragment,
    pdu,
    store_rq,
)

CONTEXT, OTHER_CONTEXT = 1, 3
MAX_PDU = 4096
ECHO = command_set(
    element(0x0002, b"1.2.840.10008.1.1"),
    element(0x0100, struct.pack("<H", 0x0030)),
    element(0x0110, struct.pack("<H", 5)),
    element(0x0800, struct.pack("<H", 0x0101)),
)
ACTION = command_set(
    element(0x0003, b"1.2.840.10008.1.20.1"),
    element(0x0100, struct.pack("<H", 0x0130)),
    element(0x0110, struct.pack("<H", 6)),
    element(0x0800, struct.pack("<H", 0x0001)),
)
STORE = store_rq("1.2.3.4")


@dataclass
class User:
    """Keeps what it is told, in order."""

    events: list[Any] = field(default_factory=list)

    def begin_store(self, context_id, request):
        self.events.append(("begin", context_id, request.sop_instance_uid, request.message_id))
        self.data_set = bytearray()
        return self

    def write(self, chunk):
        self.data_set += chunk

    def finish(self):
        self.events.append(("finish", bytes(self.data_set)))
        return 0x1234

    def abandon(self):
        self.events.append(("abandon", bytes(self.data_set)))

    def end_store(self, context_id, request, status):
        self.events.append(("answer", context_id, request.message_id, status))

    def pass_on(self, context_id, control, content):
        self.events.append(("other", context_id, control, content))


def stream_to(user: User) -> MessageStream:
    return MessageStream(
        max_pdu_bytes=MAX_PDU, contexts=dict.fromkeys((CONTEXT, OTHER_CONTEXT)), user=user
    )


def feed(content: bytes, sizes: tuple[int, ...] = ()) -> User:
    """Give `content` to a stream in pieces of these sizes, and what is left at once."""
    user, ahead, rest = User(), b"", content
    stream = stream_to(user)
    for size in (*sizes, len(content)):
        ahead, rest = ahead + rest[:size], rest[size:]
        ahead = ahead[stream.take(memoryview(ahead)) :]
    assert ahead == b"", "a complete message leaves nothing"
    assert stream.is_between_pdus
    return user


STORED = [
    ("begin", CONTEXT, "1.2.3.4", 7),
    ("finish", b"abcdefgh"),
    ("answer", CONTEXT, 7, 0x1234),
]


@pytest.mark.parametrize(
    "pdus",
    [
        [[(STORE, COMMAND | LAST)], [(b"abcdefgh", LAST)]],
        [[(STORE, COMMAND | LAST), (b"abcdefgh", LAST)]],
        [[(STORE[:9], COMMAND), (STORE[9:], COMMAND | LAST)], [(b"abc", 0)], [(b"defgh", LAST)]],
        [[(STORE, COMMAND | LAST), (b"abc", 0)], [(b"", 0), (b"defgh", 0)], [(b"", LAST)]],
    ],
    ids=["usual", "one-pdu", "split", "empty-fragments"],
)
def test_a_store_goes_on_however_it_is_cut_into_fragments(pdus):
    content = b"".join(pdu(b"".join(fragment(*each) for each in items)) for items in pdus)

    assert feed(content).events == STORED


@given(st.lists(st.integers(1, 60), max_size=40))
def test_it_does_not_matter_how_the_network_cuts_the_stream(sizes):
    content = pdu(fragment(STORE, COMMAND | LAST) + fragment(b"abc", 0))
    content += pdu(fragment(b"defgh", LAST)) + pdu(fragment(ECHO, COMMAND | LAST)) + content

    events = feed(content + pdu(fragment(b"defgh", LAST)), tuple(sizes)).events

    echoed = ("other", CONTEXT, COMMAND | LAST, ECHO)
    assert events == [*STORED, echoed, *STORED]


def test_other_messages_are_passed_on_with_their_data_set():
    content = pdu(fragment(ACTION[:20], COMMAND, OTHER_CONTEXT))
    content += pdu(fragment(ACTION[20:], COMMAND | LAST, OTHER_CONTEXT))
    content += pdu(fragment(b"ab", 0, OTHER_CONTEXT) + fragment(b"cd", LAST, OTHER_CONTEXT))

    assert feed(content).events == [
        ("other", OTHER_CONTEXT, COMMAND | LAST, ACTION),
        ("other", OTHER_CONTEXT, 0, b"ab"),
        ("other", OTHER_CONTEXT, LAST, b"cd"),
    ]


def test_a_store_without_a_data_set_is_answered():
    without = STORE.replace(
        element(0x0800, struct.pack("<H", 1)), element(0x0800, struct.pack("<H", 0x0101))
    )

    assert feed(pdu(fragment(without, COMMAND | LAST))).events[1:] == [
        ("finish", b""),
        ("answer", CONTEXT, 7, 0x1234),
    ]


def test_a_pdu_of_another_type_is_left_where_it_is():
    release = pdu(bytes(4), kind=0x05)
    user = User()
    stream = stream_to(user)
    content = pdu(fragment(STORE, COMMAND | LAST) + fragment(b"abcdefgh", LAST)) + release

    assert stream.take(memoryview(content)) == len(content) - len(release)
    assert stream.is_between_pdus
    assert user.events == STORED


def test_what_will_not_come_to_its_end_is_abandoned():
    user = User()
    stream = stream_to(user)
    stream.take(memoryview(pdu(fragment(STORE, COMMAND | LAST) + fragment(b"abc", 0))))

    stream.abandon()
    stream.abandon()

    assert user.events[1:] == [("abandon", b"abc")]


def test_it_is_known_how_much_must_come_before_the_peer_may_wait():
    stream = stream_to(User())
    content = pdu(fragment(STORE, COMMAND | LAST)) + pdu(fragment(b"a" * 100, 0))
    content += pdu(fragment(b"b" * 50, LAST))

    assert stream.bytes_to_come == 0
    begin = content.index(b"a" * 100)
    taken = stream.take(memoryview(content[: begin + 10]))
    assert (taken, stream.bytes_to_come) == (begin + 10, 90 + 12)
    begin = content.index(b"b" * 50)
    taken += stream.take(memoryview(content[taken : begin + 20]))
    assert (taken, stream.bytes_to_come) == (begin + 20, 30)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pdu(b""), "holds no fragment"),
        (struct.pack(">BBL", 0x04, 0, MAX_PDU + 1), "at most 4096 bytes, found 4097"),
        (pdu(struct.pack(">LBB", 1, CONTEXT, 3)), "a fragment of 1 bytes"),
        (pdu(struct.pack(">LBB", 3, CONTEXT, 3)), "a fragment of 3 bytes"),
        (pdu(struct.pack(">LBB", 0xFFFFFFFF, CONTEXT, 3)), "a fragment of 4294967295 bytes"),
        (pdu(fragment(STORE, 3) + b"\x00\x00"), "belong to no fragment"),
        (pdu(fragment(STORE, 3, 5)), "presentation context 5 was not accepted"),
        (pdu(fragment(b"abc", LAST)), "without a command"),
        (pdu(fragment(STORE, 3) + fragment(b"abc", 0, 3)), "in presentation context 1, found 3"),
        (pdu(fragment(STORE, 3) + fragment(STORE, 3)), "mixed"),
        (pdu(fragment(STORE[:9], COMMAND) + fragment(b"abc", LAST)), "mixed"),
        (pdu(fragment(b"no command set", 3)), "no command set: wanted elements of group 0000"),
        (pdu(fragment(STORE[:-3], 3)), "is longer than the command set"),
        (pdu(fragment(STORE + b"\x00", 3)), "ends within an element"),
        (pdu(fragment(b"", 3)), r"wanted a 16-bit number at \(0000,0800\)"),
        (
            pdu(fragment(store_rq("", sop_class_uid=CT), 3)),
            r"wanted a UID at \(0000,1000\), found none",
        ),
        (pdu(fragment(bytes(4000), COMMAND)) * 17, "a command, .* above 65536 bytes"),
    ],
)
def test_what_is_no_message_ends_the_association(content, words):
    with pytest.raises(ProtocolFault, match=words):
        stream_to(User()).take(memoryview(content))


def test_the_data_set_of_another_message_cannot_fill_the_memory():
    stream = stream_to(User())
    stream.take(memoryview(pdu(fragment(ACTION, COMMAND | LAST))))
    part = memoryview(pdu(fragment(bytes(4000), 0)))
    for _ in range((1 << 24) // 4000):
        stream.take(part)

    with pytest.raises(ProtocolFault, match="above 16777216 bytes"):
        stream.take(part)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_taken_left_or_a_fault(content, is_within_a_message):
    stream = stream_to(User())
    if is_within_a_message:
        stream.take(memoryview(pdu(fragment(STORE, COMMAND | LAST))))
        content = pdu(content)
    try:
        assert 0 <= stream.take(memoryview(content)) <= len(content)
    except ProtocolFault as fault:
        assert str(fault)  # noqa: PT017 - either may happen
