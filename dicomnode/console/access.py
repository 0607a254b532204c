"""Who may do what: finds the person behind a request, or says why there is none.

Without access configured everybody who reaches the loopback address may view and act, and is never
shown a patient.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from dicomnode.config import AccessConfig
from dicomnode.console.clients import Client, Clients, parse_address
from dicomnode.console.credentials import NAME, Entry, Passwords, Role, Tokens
from dicomnode.console.forgery import FIELD, check_origin, check_token, form_token, is_by_browser
from dicomnode.console.sessions import Sessions
from dicomnode.console.throttle import Throttle
from dicomnode.database import Database

_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))
_BEARER: Final = {"WWW-Authenticate": "Bearer"}


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
    by : {"loopback", "anyone", "password", "proxy", "token"}
        How it is known who it is.
    """

    name: str
    role: Literal["viewer", "operator"]
    sees_patients: bool
    by: Literal["loopback", "anyone", "password", "proxy", "token"] = "loopback"


class Access:
    """Finds out who asks, and lets them through or not.

    `viewer` and `operator` serve as FastAPI dependencies, and guard every route.

    Parameters
    ----------
    config : AccessConfig
    database : Database
        Holds the sessions.

    Raises
    ------
    ConfigError
        If a file of passwords or tokens cannot be used.
    """

    def __init__(self, config: AccessConfig, database: Database) -> None:
        self._config = config
        self._clients = Clients(config.proxy)
        self._passwords = None if config.password_file is None else Passwords(config.password_file)
        self._tokens = None if config.token_file is None else Tokens(config.token_file)
        self._throttle = Throttle()
        self._sessions = Sessions(
            database,
            longest=timedelta(hours=config.session_hours),
            idle=timedelta(minutes=config.idle_minutes),
        )

    @property
    def clients(self) -> Clients:
        """Tells the other end of requests."""
        return self._clients

    @property
    def has_passwords(self) -> bool:
        """Whether people can sign in here."""
        return self._passwords is not None

    def client(self, request: Request) -> Client:
        """Return the other end of a request."""
        return self._clients.client(request)

    async def viewer(self, request: Request) -> Person:
        """Return who asks, who may look at everything.

        Raises
        ------
        HTTPException
            401 if nobody is known, 403 if a page elsewhere has made a request that acts.
        """
        person = await self.streaming_viewer(request)
        if request.method not in _SAFE and self._needs_token(request, person):
            check_token(self._cookie(request), await _sent_token(request))
        return person

    async def operator(self, request: Request) -> Person:
        """Return who asks, who may act.

        Raises
        ------
        HTTPException
            As `viewer`; 403 for those who may only look.
        """
        return _as_operator(await self.viewer(request))

    async def streaming_viewer(self, request: Request) -> Person:
        """Do as `viewer`, but leave the body to the route, which checks the token in it.

        Raises
        ------
        HTTPException
            As `viewer`.
        """
        person = await run_in_threadpool(self.find, request)
        request.state.person = person  # for pages that say what went wrong
        if person is None:
            raise HTTPException(401, "sign in first", headers=_BEARER)
        if request.method not in _SAFE and person.by != "token":
            check_origin(request, self.client(request))
        return person

    async def streaming_operator(self, request: Request) -> Person:
        """Do as `operator`, but leave the body to the route, which checks the token in it.

        Raises
        ------
        HTTPException
            As `operator`.
        """
        return _as_operator(await self.streaming_viewer(request))

    def check_form(self, request: Request, person: Person, token: str | None) -> None:
        """Check the token of a form that a route has read itself.

        Raises
        ------
        HTTPException
            403 if it is not the one that our page was given.
        """
        if self._needs_token(request, person):
            check_token(self._cookie(request), token)

    @staticmethod
    def _needs_token(request: Request, person: Person) -> bool:
        if person.by == "token":
            return False
        # A program at the API is no browser: nobody can make it send what it does not want to.
        return not request.url.path.startswith("/api/") or is_by_browser(request)

    def find(self, request: Request) -> Person | None:
        """Return who asks; None if that is not known.

        Raises
        ------
        HTTPException
            If what is shown is wrong: 401 for a token, 403 for a name that is none of this machine.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._by_token(token.strip())
        if not self._config.asks:
            return self._without_asking(request)
        return self._by_proxy(request) or self._by_session(request)

    def _without_asking(self, request: Request) -> Person:
        if self._config.open_to_anyone:
            return Person(name="anyone", role="operator", sees_patients=False, by="anyone")
        # A page elsewhere may have its own name lead to this machine, and then ask as it likes.
        host = request.url.hostname or ""
        address = parse_address(host)
        if host != "localhost" and (address is None or not address.is_loopback):
            raise HTTPException(
                403, "without [console.access] the console is asked by a loopback address alone"
            )
        return Person(name="local", role="operator", sees_patients=False, by="loopback")

    def _by_token(self, token: str) -> Person:
        entry = None if self._tokens is None else self._tokens.check(token)
        if entry is None:
            raise HTTPException(401, "the bearer token is nobody's", headers=_BEARER)
        return self._person(entry.name, entry.role, by="token")

    def _by_proxy(self, request: Request) -> Person | None:
        proxy = self._config.proxy
        if proxy is None or proxy.user_header is None or not self.client(request).by_proxy:
            return None
        name = request.headers.get(proxy.user_header, "")
        if not NAME.fullmatch(name):
            return None
        role: Role = proxy.default_role
        if proxy.role_header is not None:
            said = request.headers.get(proxy.role_header, "").strip().lower()
            role = "operator" if said == "operator" else "viewer"
        return self._person(name, role, by="proxy")

    def _by_session(self, request: Request) -> Person | None:
        secret = request.cookies.get(_session_cookie(self.client(request)))
        if self._passwords is None or not secret:
            return None
        name = self._sessions.find(secret)
        entry = None if name is None else self._passwords.get(name)
        return None if entry is None else self._person(entry.name, entry.role, by="password")

    def _person(
        self, name: str, role: Role, *, by: Literal["password", "proxy", "token"]
    ) -> Person:
        seen_by = {"viewers": True, "operators": role == "operator", "nobody": False}
        return Person(name=name, role=role, sees_patients=seen_by[self._config.patients], by=by)

    # -- signing in and out

    def wait_seconds(self, request: Request, name: str) -> float:
        """Return how long somebody must wait who failed to sign in too often; else 0."""
        return self._throttle.wait_seconds(name, self.client(request).address)

    def sign_in(self, request: Request, name: str, password: str) -> Entry | None:
        """Check a password, and count a failure.

        Returns
        -------
        Entry or None
            None if name and password do not belong together.
        """
        address = self.client(request).address
        entry = None if self._passwords is None else self._passwords.check(name, password)
        if entry is None:
            self._throttle.fail(name, address)
        else:
            self._throttle.succeed(name, address)
        return entry

    def open_session(self, request: Request, response: Response, entry: Entry) -> None:
        """Give the browser a new session."""
        client = self.client(request)
        self.close_session(request, response)
        response.set_cookie(
            _session_cookie(client),
            self._sessions.open(entry.name),
            max_age=int(self._config.session_hours * 3600),
            path="/",
            secure=client.is_https,
            httponly=True,
            samesite="lax",  # a link in a mail finds people signed in
        )

    def close_session(self, request: Request, response: Response) -> None:
        """End the session of a browser, if it has one."""
        name = _session_cookie(self.client(request))
        if secret := request.cookies.get(name):
            self._sessions.close(secret)
            response.delete_cookie(name, path="/", httponly=True, samesite="lax")

    # -- forms

    def check_visitor(self, request: Request, token: str) -> None:
        """Check the token of a form that is there before anybody is known.

        Raises
        ------
        HTTPException
            403 if it is not the one that our page was given.
        """
        check_token(self._cookie(request), token)

    def form_token(self, request: Request) -> str:
        """Return the token for the forms of a page.

        A browser without a cookie is given one with the answer, by `set_visitor`.
        """
        cookie = self._cookie(request)
        if cookie is None:
            cookie = request.state.visitor = secrets.token_urlsafe(32)
        return form_token(cookie)

    def set_visitor(self, request: Request, response: Response) -> None:
        """Give a browser the cookie that its form token was derived from, if it is a new one."""
        visitor = getattr(request.state, "visitor", None)
        if visitor is not None:
            client = self.client(request)
            response.set_cookie(
                _visitor_cookie(client),
                visitor,
                path="/",
                secure=client.is_https,
                httponly=True,
                samesite="strict",
            )

    def _cookie(self, request: Request) -> str | None:
        """Return the secret that forms of this browser are bound to."""
        client = self.client(request)
        cookies = request.cookies
        fresh: str | None = getattr(request.state, "visitor", None)
        return fresh or cookies.get(_session_cookie(client)) or cookies.get(_visitor_cookie(client))


def _as_operator(person: Person) -> Person:
    if person.role != "operator":
        raise HTTPException(403, f"{person.name} may look, and only operators may act")
    return person


def _session_cookie(client: Client) -> str:
    # The prefix keeps other hosts and unencrypted pages from setting it.
    return "__Host-dicomnode-session" if client.is_https else "dicomnode-session"


def _visitor_cookie(client: Client) -> str:
    return "__Host-dicomnode-visitor" if client.is_https else "dicomnode-visitor"


async def _sent_token(request: Request) -> str | None:
    token = request.headers.get("x-form-token")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if token is None and kind == "application/x-www-form-urlencoded":
        value = (await request.form()).get(FIELD)
        token = value if isinstance(value, str) else None
    return token
