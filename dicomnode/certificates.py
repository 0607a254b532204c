"""When a certificate expires (RFC 5280 4.1.2.5).  Whether it is trusted is OpenSSL's to say."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dicomnode.errors import StateError

_END: Final = "-----END CERTIFICATE-----"
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_EXPLICIT_VERSION: Final = 0xA0


def expires_at(path: Path) -> datetime:
    """Return when the first certificate of a PEM file expires.

    Raises
    ------
    StateError
        If the file cannot be read, or holds no certificate.
    """
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from error
    begin = text.find("-----BEGIN CERTIFICATE-----")
    end = text.find(_END, begin)
    if begin < 0 or end < 0:
        raise StateError(f"{path}: wanted a certificate in PEM, found none")
    try:
        der = ssl.PEM_cert_to_DER_cert(text[begin : end + len(_END)])
        return _not_after(der)
    except (ValueError, IndexError, StopIteration) as error:
        raise StateError(f"{path}: wanted a certificate, found what cannot be read") from error


def _not_after(der: bytes) -> datetime:
    _, certificate = next(_elements(der))
    _, to_be_signed = next(_elements(certificate))
    fields = [each for each in _elements(to_be_signed) if each[0] != _EXPLICIT_VERSION]
    # serialNumber, signature, issuer, validity
    _not_before, (tag, value) = _elements(fields[3][1])
    text = value.decode("ascii")
    if tag == _UTC_TIME:
        # Two digits of the year; 50 and above are of the last century.
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"wanted a time, found ASN.1 tag {tag:#x}")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each DER element (X.690 8.1), one after the other."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(der[at : at + count], "big")
            at += count
        if at + length > len(der):
            raise ValueError("an element is longer than what it is in")
        yield tag, der[at : at + length]
        at += length
