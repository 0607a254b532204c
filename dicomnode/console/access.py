"""Who may do what: finds the person behind a request, or says why there is none.

Without access configured everybody who reaches the loopback address may view and act, and is never
shown a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastapi import Request

from dicomnode.config import AccessConfig

Role = Literal["viewer", "operator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whoever asks.

    Attributes
    ----------
    name : str
        As signed in; of those who need not, where they are.
    role : {"viewer", "operator"}
        An operator may act as well.
    sees_patients : bool
        Whether patients' names and IDs may be shown.
    """

    name: str
    role: Role
    sees_patients: bool


class Access:
    """Finds out who asks, and lets them through or not; methods serve as FastAPI dependencies.

    Parameters
    ----------
    config : AccessConfig
    """

    def __init__(self, config: AccessConfig) -> None:
        self._config = config

    async def viewer(self, request: Request) -> Person:
        """Return who asks, who may look at everything."""
        name = "anyone" if self._config.open_to_anyone else "local"
        request.state.person = Person(name=name, role="operator", sees_patients=False)
        person: Person = request.state.person
        return person

    async def operator(self, request: Request) -> Person:
        """Return who asks, who may act."""
        return await self.viewer(request)
