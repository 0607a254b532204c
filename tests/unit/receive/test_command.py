"""The command sets written and read by hand are those of the library."""

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode
from pynetdicom.pdu_primitives import P_DATA

from dicomnode.receive.command import (
    CommandInvalid,
    StoreRequestFields,
    decode_command,
    encode_store_response,
)
from tests.support.raw_sender import CT, command_set, store_rq


def library_request(sop_instance_uid: str, **more: object) -> bytes:
    primitive = C_STORE()
    primitive.MessageID = 17
    primitive.AffectedSOPClassUID = CT
    primitive.AffectedSOPInstanceUID = sop_instance_uid
    primitive.Priority = 2
    primitive.DataSet = BytesIO(b"xx")
    for name, value in more.items():
        setattr(primitive, name, value)
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    (command, *_) = message.encode_msg(1, 16384)
    ((_, value),) = command.presentation_data_value_list
    return value[1:]


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
@pytest.mark.parametrize(
    "more", [{}, {"MoveOriginatorApplicationEntityTitle": "PACS", "MoveOriginatorMessageID": 3}]
)
def test_a_request_of_the_library_is_understood(uid, more):
    command = decode_command(library_request(uid, **more))

    assert command.has_data_set
    assert command.store == StoreRequestFields(17, CT, uid)


@pytest.mark.parametrize(("uid", "status"), [("1.2.3", 0x0000), ("1.2.34", 0xA700)])
def test_the_response_is_the_one_that_the_library_writes(uid, status):
    primitive = C_STORE()
    primitive.MessageIDBeingRespondedTo = 17
    primitive.AffectedSOPClassUID = CT
    primitive.AffectedSOPInstanceUID = uid
    primitive.Status = status
    message = C_STORE_RSP()
    message.primitive_to_message(primitive)
    ((_, value),) = next(message.encode_msg(1, 16384)).presentation_data_value_list

    encoded = encode_store_response(StoreRequestFields(17, CT, uid), status)

    assert decode(BytesIO(encoded), is_implicit_vr=True, is_little_endian=True) == decode(
        BytesIO(value[1:]), is_implicit_vr=True, is_little_endian=True
    )


def test_the_response_is_understood_by_the_library():
    encoded = encode_store_response(StoreRequestFields(17, CT, "1.2.3"), 0xC000)
    received, primitive = DIMSEMessage(), P_DATA()
    primitive.presentation_data_value_list = [[1, b"\x03" + encoded]]

    class Association:
        """As much of one as the decoder looks at."""

        accepted_contexts = ()

    assert received.decode_msg(primitive, Association())
    answer = received.message_to_primitive()
    assert (answer.Status, answer.MessageIDBeingRespondedTo) == (0xC000, 17)


def test_what_came_as_a_uid_is_repeated_as_it_came():
    """Also where it is none: the answer says which request it is for, no more."""
    command = decode_command(store_rq("..///").replace(b"///", b"/\xe9/"))

    assert command.store is not None
    assert b"../\xe9/" in encode_store_response(command.store, 0xC000)


@pytest.mark.parametrize("encoded", [b"", command_set(), store_rq("1.2")[:-1], bytes(7)])
def test_what_is_no_command_set_is_said_to_be_none(encoded):
    with pytest.raises(CommandInvalid):
        decode_command(encoded)
