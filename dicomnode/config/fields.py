"""Types of single values that sections share: AE titles, ports, times, names."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from dicomnode.standard.ae import AEAddress, check_ae_title
from dicomnode.standard.uids import is_valid_uid

AETitle = Annotated[str, AfterValidator(check_ae_title)]
Port = Annotated[int, Field(ge=0, le=65535)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _check_host(host: str) -> str:
    """Accept an address or network, reject what could never match a peer's address."""
    ipaddress.ip_network(host, strict=False)
    return host


def check_distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """Accept a list that names nothing twice."""
    for value, count in Counter(values).items():
        if count > 1:
            raise ValueError(f"{value!r} is listed twice")
    return values


def _check_address(text: str) -> str:
    AEAddress.parse(text)
    return text


def _check_uid(uid: str) -> str:
    if not is_valid_uid(uid):
        raise ValueError("wanted a UID (PS3.5 9.1)")
    return uid


Address = Annotated[str, AfterValidator(_check_address)]
PeerHost = Annotated[str, AfterValidator(_check_host)]
Names = Annotated[tuple[Name, ...], AfterValidator(check_distinct)]
Uid = Annotated[str, AfterValidator(_check_uid)]
Days = Annotated[float, Field(ge=0, le=36_500)]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A table of the file: unknown keys are faults, values stay as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_Model = TypeVar("_Model", bound=BaseModel)


def require(section: _Model, keys: list[str]) -> _Model:
    """Accept a section that has those keys.

    Raises
    ------
    ValueError
        Names all that are missing.
    """
    missing = [key for key in keys if getattr(section, key) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be given")
    return section
