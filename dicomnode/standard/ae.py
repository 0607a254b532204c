"""Application Entity titles and addresses.  No network here."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ADDRESS = re.compile(r"(?P<title>[^@]+)@(?P<host>\[[^\]\s]+\]|[^:@\[\]\s]+):(?P<port>[0-9]{1,5})")


def check_ae_title(title: str) -> str:
    """Return `title` without padding if it is a legal AE title.

    Raises
    ------
    ValueError
        If the title is empty, longer than 16 characters, or holds a backslash, a control
        character or anything outside the default repertoire (PS3.5 6.2, VR AE).
    """
    stripped = title.strip(" ")
    if not stripped:
        raise ValueError("an AE title needs at least one character that is no space")
    if len(stripped) > 16:
        raise ValueError(f"an AE title has at most 16 characters, this one has {len(stripped)}")
    if not all(" " <= char <= "~" and char != "\\" for char in stripped):
        raise ValueError("an AE title holds printable ASCII without backslash only")
    return stripped


@dataclass(frozen=True, slots=True)
class AEAddress:
    """Where an application entity listens: ``TITLE@host:port``."""

    ae_title: str
    host: str
    port: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "ae_title", check_ae_title(self.ae_title))
        if not self.host:
            raise ValueError("an address needs a host, found none")
        if not 1 <= self.port <= 65535:
            raise ValueError(f"a port lies between 1 and 65535, found {self.port}")

    @classmethod
    def parse(cls, text: str) -> AEAddress:
        """Read ``TITLE@host:port``; an IPv6 host stands in brackets.

        Raises
        ------
        ValueError
            If `text` has another form.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise ValueError(f"wanted TITLE@host:port, found {text!r}")
        title = check_ae_title(match["title"])
        return cls(title, match["host"].strip("[]"), int(match["port"]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"
