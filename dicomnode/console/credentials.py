"""Files of names, roles and hashes: passwords (argon2id) and bearer tokens (SHA-256).

The hash of a token needs no work factor: a token is 256 random bits.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from dicomnode.errors import ConfigError
from dicomnode.log import get_logger

Role = Literal["viewer", "operator"]

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
"""What people and programs may be called."""

_ROLES: Final[Mapping[str, Role]] = {"viewer": "viewer", "operator": "operator"}
_TOKEN_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST_PASSWORD: Final = 1024
_NOBODY: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$HfIEsEf6SSJwnph3w11Wrw$"
    "xy/qYmwt6D/karisULLet457dhDKQ5XNF30TRbXWFIg"
)
"""Of a password that nobody knows: checked for an unknown name, which then takes as long."""

_AT_ONCE: Final = 2
"""Each check of a password takes 64 MiB for a moment."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a file: who, as what, known by which hash."""

    name: str
    role: Role
    hash: str


def password_line(name: str, role: Role, password: str) -> str:
    """Return the line of a password file for a person."""
    return f"{name}:{role}:{PasswordHasher().hash(password)}"


def new_token(name: str, role: Role) -> tuple[str, str]:
    """Return a new bearer token, and the line of a token file for it."""
    token = secrets.token_urlsafe(32)
    return token, f"{name}:{role}:{_digest(token)}"


class _File:
    """A file of entries, read again when it changes.

    Raises
    ------
    ConfigError
        If it cannot be read now, or a line of it cannot be used.
    """

    def __init__(self, path: Path, *, key: str, hash_form: re.Pattern[str]) -> None:
        self._path = path
        self._key = key
        self._hash_form = hash_form
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._entries: dict[str, Entry] = {}
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError((f"{key}: {path} cannot be read: {_words(error)}",)) from error
        if faults := tuple(each for each in self._parse(text) if isinstance(each, str)):
            raise ConfigError(faults)

    def entries(self) -> Mapping[str, Entry]:
        """Return the entries by name, as the file has them now; none if it cannot be read."""
        with self._lock:
            try:
                status = self._path.stat()
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                if stamp != self._stamp:
                    self._read()
                    self._stamp = stamp
            except (OSError, UnicodeDecodeError) as error:
                # Nobody is let in by what cannot be asked any more.
                _log.error("access_file_unreadable", key=self._key, reason=_words(error))
                self._stamp, self._entries = None, {}
            return self._entries

    def _read(self) -> None:
        entries: dict[str, Entry] = {}
        for each in self._parse(self._path.read_text(encoding="utf-8")):
            if isinstance(each, str):
                _log.error("access_line_unusable", reason=each)
            else:
                entries[each.name] = each
        self._entries = entries

    def _parse(self, text: str) -> Iterator[Entry | str]:
        """Yield an entry for each line, or what is wrong with it; a hash is never quoted."""
        seen: set[str] = set()
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            where = f"{self._key}: {self._path}, line {number}"
            parts = line.strip().split(":", 2)
            if len(parts) != 3:
                yield f"{where}: wanted NAME:ROLE:HASH, found {len(parts) - 1} colons"
                continue
            name, role, hashed = parts
            if not NAME.fullmatch(name):
                yield f"{where}: wanted a name of letters, digits and . _ @ -"
            elif role not in _ROLES:
                yield f"{where}: wanted the role viewer or operator, found {role!r}"
            elif not self._hash_form.fullmatch(hashed):
                yield f"{where}: the hash of {name} is none that this file may hold"
            elif name in seen:
                yield f"{where}: {name} is there already"
            else:
                seen.add(name)
                yield Entry(name, _ROLES[role], hashed)


class Passwords:
    """A password file.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ConfigError
        If it cannot be read, or a line of it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        argon2 = re.compile(r"\$argon2id\$[A-Za-z0-9$=,+/.-]{20,400}", re.ASCII)
        self._file = _File(path, key="console.access.password_file", hash_form=argon2)
        self._hasher = PasswordHasher()
        self._slots = threading.BoundedSemaphore(_AT_ONCE)

    def get(self, name: str) -> Entry | None:
        """Return who is called so; None if nobody is, any more."""
        return self._file.entries().get(name)

    def check(self, name: str, password: str) -> Entry | None:
        """Return who is called so and has this password; None if nobody does."""
        if len(password) > _LONGEST_PASSWORD:
            return None
        entry = self.get(name)
        with self._slots:
            try:
                self._hasher.verify(_NOBODY if entry is None else entry.hash, password)
            except (VerificationError, InvalidHashError):
                return None
        return entry


class Tokens:
    """A file of bearer tokens.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ConfigError
        If it cannot be read, or a line of it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._file = _File(path, key="console.access.token_file", hash_form=_TOKEN_HASH)

    def check(self, token: str) -> Entry | None:
        """Return whose token it is; None if it is nobody's."""
        wanted = _digest(token)
        found = None
        for entry in self._file.entries().values():
            if secrets.compare_digest(entry.hash, wanted):
                found = entry
        return found


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _words(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or "unknown") if isinstance(error, OSError) else "no UTF-8"
