"""STOW-RS: DICOM files to a web service (PS3.18 10.5), one outcome each.  Retries are not here.

Files are streamed as they are; nothing is decoded.  Who we are is shown by fixed headers from a
file, or by a token had with client credentials (RFC 6749 4.4).
"""

from __future__ import annotations

import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from dicomnode.config import DicomwebDestination, OAuthConfig
from dicomnode.errors import (
    DestinationRefused,
    DestinationUnavailable,
    InstanceUnreadable,
    SendError,
)
from dicomnode.log import get_logger
from dicomnode.send.outcome import StoreOutcome
from dicomnode.spool.durable import read_chunks
from dicomnode.spool.part10 import read_file_meta
from dicomnode.standard.status import (
    DUPLICATE_SOP_INSTANCE,
    describe_store_status,
    is_transient,
)

TRANSIENT_STATUSES: Final = frozenset((408, 425, 429, 500, 502, 503, 504, 507))
"""HTTP statuses after which another request may succeed."""
STATUSES_WITH_OUTCOMES: Final = frozenset((200, 202, 409))
"""Statuses whose body says what became of each instance (PS3.18 table 10.5.3-1)."""

_NO_SEARCH: Final = frozenset((405, 406, 501))
"""A service that is there, and knows no search for studies."""

_REFERENCED_SOP: Final = "00081199"
_FAILED_SOP: Final = "00081198"
_SOP_INSTANCE: Final = "00081155"
_FAILURE_REASON: Final = "00081197"
_WARNING_REASON: Final = "00081196"

_ALREADY_STORED: Final = frozenset({DUPLICATE_SOP_INSTANCE, 0xB00E})
"""Failure reasons of a service that has the instance: PS3.7 C.5.6, and Azure's own 45070."""

_TOKEN_SPARE_SECONDS: Final = 30.0
"""A token is not used so shortly before it ends."""

_log = get_logger(__name__)


class StowClient:
    """One STOW-RS service.  Thread-safe.

    Parameters
    ----------
    config : DicomwebDestination
    """

    def __init__(self, config: DicomwebDestination) -> None:
        self._config = config
        self._url = f"{config.url.rstrip('/')}/studies"
        self._token = "" if config.oauth is None else None
        self._token_ends = float("inf")
        self._lock = threading.Lock()

    def send(
        self,
        paths: Sequence[Path],
        *,
        on_sent: Callable[[StoreOutcome], None] | None = None,
    ) -> tuple[StoreOutcome, ...]:
        """Store DICOM files in one request.

        Parameters
        ----------
        paths : sequence of Path
            DICOM files.
        on_sent : callable, optional
            Told each outcome.

        Returns
        -------
        tuple of StoreOutcome
            One for each of `paths`, in their order.

        Raises
        ------
        DestinationUnavailable
            If the service is not there, busy, or broken for now.
        DestinationRefused
            If it refuses the request as a whole: not authorized, not understood.
        SendError
            If a file or a secret cannot be read.
        """
        uids = {path: _sop_instance_uid(path) for path in paths}
        try:
            with self._open() as client:
                response = self._post(client, paths)
                if response.status_code == httpx.codes.UNAUTHORIZED and self._config.oauth:
                    # The service may have forgotten a token before its time.
                    with self._lock:
                        self._token = None
                    response = self._post(client, paths)
        except httpx.HTTPError as error:
            raise _unreachable(self._url, error) from error
        outcomes = tuple(_outcomes(self._url, response, uids))
        for outcome in outcomes:
            _log.info(
                "instance_sent" if outcome.accepted else "instance_refused_by_peer",
                to=self._url,
                sop_instance_uid=outcome.sop_instance_uid,
                status=outcome.words,
            )
            if on_sent is not None:
                on_sent(outcome)
        return outcomes

    def check(self, *, timeout_seconds: float) -> str:
        """Ask whether the service is there and knows us, by a search for one study.

        Returns
        -------
        str
            What it answered, in words.

        Raises
        ------
        DestinationUnavailable, DestinationRefused, SendError
            As `send`.
        """
        begin = time.monotonic()
        try:
            with self._open() as client:
                headers = {"Accept": "application/dicom+json", **self._authorization(client)}
                response = client.get(
                    self._url, params={"limit": 1}, headers=headers, timeout=timeout_seconds
                )
        except httpx.HTTPError as error:
            raise _unreachable(self._url, error) from error
        status = response.status_code
        if status in TRANSIENT_STATUSES:
            raise DestinationUnavailable(f"{self._url} answered with HTTP status {status}")
        # Some services store and do not search: they are there all the same.
        if status >= httpx.codes.BAD_REQUEST and status not in _NO_SEARCH:
            raise DestinationRefused(f"{self._url} refused to be asked: HTTP status {status}")
        return f"HTTP status {status} after {1000 * (time.monotonic() - begin):.0f} ms"

    def _open(self) -> httpx.Client:
        context: ssl.SSLContext | bool = True
        if self._config.ca_file is not None:
            try:
                context = ssl.create_default_context(cafile=self._config.ca_file)
            except OSError as error:
                raise SendError(f"{self._config.ca_file} cannot be used: {error}") from error
        return httpx.Client(verify=context, timeout=self._config.timeout_seconds)

    def _post(self, client: httpx.Client, paths: Sequence[Path]) -> httpx.Response:
        boundary = f"dicomnode-{uuid.uuid4().hex}"
        length = sum(
            len(piece) if isinstance(piece, bytes) else piece.stat().st_size
            for piece in _pieces(paths, boundary)
        )
        headers = {
            "Accept": "application/dicom+json",
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            # Known beforehand, so said: not every server takes a body in chunks.
            "Content-Length": str(length),
            **self._authorization(client),
        }
        return client.post(self._url, content=_stream(paths, boundary), headers=headers)

    def _authorization(self, client: httpx.Client) -> dict[str, str]:
        headers = {}
        if self._config.headers_file is not None:
            headers = _read_headers(self._config.headers_file)
        if self._config.oauth is not None:
            headers["Authorization"] = f"Bearer {self._bearer(client, self._config.oauth)}"
        return headers

    def _bearer(self, client: httpx.Client, oauth: OAuthConfig) -> str:
        with self._lock:
            if self._token is not None and time.monotonic() < self._token_ends:
                return self._token
            form = {"grant_type": "client_credentials"}
            if oauth.scope is not None:
                form["scope"] = oauth.scope
            secret = _read_secret(oauth.client_secret_file)
            try:
                response = client.post(oauth.token_url, data=form, auth=(oauth.client_id, secret))
            except httpx.HTTPError as error:
                raise _unreachable(oauth.token_url, error) from error
            if response.status_code in TRANSIENT_STATUSES:
                raise DestinationUnavailable(
                    f"{oauth.token_url} gave no token: HTTP status {response.status_code}"
                )
            try:
                answer = response.raise_for_status().json()
                token = str(answer["access_token"])
                lifetime = float(answer.get("expires_in", 60.0))
            except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
                raise DestinationRefused(
                    f"{oauth.token_url} gave no token: HTTP status {response.status_code}"
                ) from error
            self._token = token
            self._token_ends = time.monotonic() + max(0.0, lifetime - _TOKEN_SPARE_SECONDS)
            return token


def _unreachable(url: str, error: httpx.HTTPError) -> DestinationUnavailable:
    # The kind only: the library's texts may quote what was sent.
    return DestinationUnavailable(f"{url} cannot be reached: {type(error).__name__}")


def _pieces(paths: Sequence[Path], boundary: str) -> Iterator[bytes | Path]:
    """Yield the body: delimiters and headers as bytes, contents as the files that hold them."""
    for path in paths:
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
        yield path
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode("ascii")


def _stream(paths: Sequence[Path], boundary: str) -> Iterator[bytes]:
    for piece in _pieces(paths, boundary):
        if isinstance(piece, bytes):
            yield piece
        else:
            yield from read_chunks(piece)


def _outcomes(
    url: str, response: httpx.Response, uids: Mapping[Path, str]
) -> Iterator[StoreOutcome]:
    """Read the Store Instances Response Module (PS3.18 I.2)."""
    status = response.status_code
    if status in TRANSIENT_STATUSES:
        raise DestinationUnavailable(f"{url} answered with HTTP status {status}")
    if status not in STATUSES_WITH_OUTCOMES:
        raise DestinationRefused(f"{url} refused the request with HTTP status {status}")
    try:
        answer: dict[str, Any] = response.json()
        stored = {
            uid: _reason(item, _WARNING_REASON) for uid, item in _items(answer, _REFERENCED_SOP)
        }
        failed = {uid: _reason(item, _FAILURE_REASON) for uid, item in _items(answer, _FAILED_SOP)}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DestinationRefused(
            f"{url} answered with HTTP status {status} and no response module that can be read"
        ) from error
    for path, uid in uids.items():
        if uid in failed:
            reason = failed[uid]
            # Who has it already has it: under our UIDs there is but one object.
            is_there = reason in _ALREADY_STORED
            named = DUPLICATE_SOP_INSTANCE if is_there else reason
            words = "Failure, no reason given" if named is None else describe_store_status(named)
            yield StoreOutcome(
                sop_instance_uid=uid,
                path=path,
                status=reason,
                words=words,
                accepted=is_there,
                transient=reason is not None and is_transient(reason),
            )
        elif uid in stored:
            warning = stored[uid]
            yield StoreOutcome(
                sop_instance_uid=uid,
                path=path,
                status=warning or 0x0000,
                words="Success" if not warning else describe_store_status(warning),
                accepted=True,
                transient=False,
            )
        else:
            yield StoreOutcome(
                sop_instance_uid=uid,
                path=path,
                status=None,
                words=f"HTTP status {status}, and the response does not mention it",
                accepted=False,
                transient=True,
            )


def _items(answer: Mapping[str, Any], tag: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for item in answer.get(tag, {}).get("Value", []):
        yield str(item[_SOP_INSTANCE]["Value"][0]), item


def _reason(item: Mapping[str, Any], tag: str) -> int | None:
    values = item.get(tag, {}).get("Value", [])
    return int(values[0]) if values else None


def _sop_instance_uid(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return read_file_meta(file).sop_instance_uid
    except (OSError, InstanceUnreadable) as error:
        raise SendError(f"{path.name} cannot be sent: {error}") from error


def _read_headers(path: Path) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, line in enumerate(_read_secret(path).splitlines(), start=1):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise SendError(f'{path}: wanted "Name: value" in line {number}, found no such thing')
        headers[name.strip()] = value.strip()
    return headers


def _read_secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SendError(f"{path} cannot be read: {type(error).__name__}") from error
