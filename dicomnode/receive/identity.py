"""User identity negotiation (PS3.7 D.3.3.7): who may call, by name and password.

Names and passwords are in no log line: somebody may mistake the one for the other.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pynetdicom.association import Association
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from dicomnode.config import User
from dicomnode.errors import ConfigError
from dicomnode.receive.admission import Rejected

_NAME_AND_PASSWORD: Final = 2

# PS3.7 D.3.3.7: rejected permanent, by the UL service provider (ACSE), no reason given.
NOT_AUTHORIZED: Final = (1, 2, 1)


class Users:
    """The users that may open associations; with none configured nobody is asked.

    Parameters
    ----------
    users : sequence of User

    Raises
    ------
    ConfigError
        With every password file that cannot be read or is empty.
    """

    def __init__(self, users: Sequence[User]) -> None:
        self._users = {each.name.encode(): each.password_file for each in users}
        faults: list[str] = []
        for index, each in enumerate(users):
            path = f"receive.users.{index}.password_file"
            try:
                if not _read(each.password_file):
                    faults.append(f"{path}: {each.password_file} is empty")
            except OSError as error:
                faults.append(f"{path}: {each.password_file} cannot be read: {error.strerror}")
        if faults:
            raise ConfigError(tuple(faults))

    def decide(self, offered: Any) -> Rejected | None:
        """Decide on the identity that a peer offers.

        Parameters
        ----------
        offered : UserIdentityNegotiation or None
            As in the A-ASSOCIATE-RQ.

        Returns
        -------
        Rejected or None
            None lets the association pass.
        """
        if not self._users:
            return None
        kind = None if offered is None else offered.user_identity_type
        if kind != _NAME_AND_PASSWORD:
            found = "none" if kind is None else f"type {kind}"
            return _reject(f"user identity: wanted user name and password, found {found}")
        file = self._users.get(offered.primary_field or b"")
        try:
            wanted = _read(file) if file is not None else b""
        except OSError:
            return _reject("user identity: the password file of this user cannot be read")
        # Compared in a time that tells nothing of the password.
        same = hmac.compare_digest(wanted, offered.secondary_field or b"")
        if file is None or not wanted or not same:
            return _reject("user identity: wanted a known user name with its password")
        return None

    def confirm(self, assoc: Association, offered: Any) -> None:
        """Have the identity confirmed in the A-ASSOCIATE-AC where the peer asked for that.

        The library leaves the confirmation out for user names (types 1 and 2), where the server
        response has no content but the item itself must be there.
        """
        if not self._users or not offered.positive_response_requested:
            return
        answer = UserIdentityNegotiation()
        answer.server_response = b""
        checked: Any = assoc.acse
        checked._check_user_identity = lambda: (True, answer)  # noqa: SLF001 - it has no other way


def _reject(words: str) -> Rejected:
    result, source, reason = NOT_AUTHORIZED
    return Rejected(result=result, source=source, reason=reason, words=words)


def _read(file: Path) -> bytes:
    """Read a password; each time, so that it can be changed under a running node."""
    return file.read_bytes().rstrip(b"\r\n")
