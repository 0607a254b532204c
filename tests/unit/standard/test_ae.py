"""AE titles and addresses: legal ones pass unchanged but for padding, others never exist."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.standard.ae import AEAddress, check_ae_title


@pytest.mark.parametrize("title", ["0042", "NO", "A", "ORTHANC", "A B", "SIXTEEN-LETTERS_", "~!"])
def test_a_legal_title_passes_unchanged(title):
    assert title == check_ae_title(title)


def test_padding_is_not_part_of_a_title():
    assert check_ae_title("  PACS 1  ") == "PACS 1"


@pytest.mark.parametrize(
    ("title", "words"),
    [
        pytest.param("", "at least one", id="empty"),
        pytest.param("    ", "at least one", id="spaces"),
        pytest.param("SEVENTEEN-LETTERS", "at most 16 characters, this one has 17", id="long"),
        pytest.param("A\\B", "backslash", id="backslash"),
        pytest.param("A\tB", "printable", id="control"),
        pytest.param("PACS\n", "printable", id="line feed at the end"),
        pytest.param("K\u00d6LN", "ASCII", id="not ASCII"),
    ],
)
def test_an_illegal_title_is_refused_with_the_rule(title, words):
    with pytest.raises(ValueError, match=words):
        check_ae_title(title)


@given(st.text(max_size=20))
def test_a_title_is_refused_or_fits_the_wire(text):
    try:
        title = check_ae_title(text)
    except ValueError:
        return

    assert 1 <= len(title.encode("ascii")) <= 16
    assert title == check_ae_title(title)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("PACS@127.0.0.1:104", AEAddress("PACS", "127.0.0.1", 104)),
        ("0042@pacs.example.org:11112", AEAddress("0042", "pacs.example.org", 11112)),
        ("NO@[::1]:4242", AEAddress("NO", "::1", 4242)),
    ],
)
def test_an_address_is_read_and_written_alike(text, address):
    assert address == AEAddress.parse(text)
    assert text == str(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PACS",
        "PACS@host",
        "PACS@:104",
        "@host:104",
        "PACS@host:",
        "PACS@host:port",
        "PACS@::1:104",
        "PACS@[]:104",
        "PACS@host:0",
        "PACS@host:65536",
        "PACS@host:\u0661\u0660\u0664",
        "PACS@ host:104",
        "A\\B@host:104",
        "PACS@host:104 ",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match=r"wanted TITLE@host:port|port lies|an AE title"):
        AEAddress.parse(text)


def test_an_address_is_valid_however_it_was_made():
    assert AEAddress("PACS", "h", 104) == AEAddress(" PACS ", "h", 104)
    with pytest.raises(ValueError, match="host"):
        AEAddress("PACS", "", 104)
