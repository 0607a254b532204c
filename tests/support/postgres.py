"""A PostgreSQL server for tests, made and started here: fsync on, a socket and a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from dicomnode.database import open_database
from dicomnode.engine import JobQueue

_START_SECONDS = 30.0


def find_programs() -> Path:
    """Return the folder of ``initdb`` and ``postgres``: Debian keeps it off the path."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: float(each.parts[4]))
    assert found, "no PostgreSQL server is installed: run tools/test-peers"
    return found[-1]


class Postgres:
    """A server of its own in a folder of its own.  Use it as a context manager.

    Parameters
    ----------
    address
        Where it listens, beside loopback.
    """

    def __init__(self, *, address: str | None = None) -> None:
        self._address = address
        self._programs = find_programs()
        # Neither root nor below pytest's folder, which only its owner may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="dicomnode-pg-", dir="/tmp"))
        self._user: int | None = None
        if os.geteuid() == 0:
            self._user = pwd.getpwnam("nobody").pw_uid
            os.chown(self._folder, self._user, -1)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._pattern: str | None = None

    def __enter__(self) -> Self:
        self._call("initdb", "-D", str(self._data), "-U", "tests", "--auth=trust", "-E", "UTF8")
        if self._address is not None:
            with (self._data / "pg_hba.conf").open("a") as file:
                file.write("host all tests samenet trust\nhost all tests 198.18.0.0/15 trust\n")
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [
                self._programs / "postgres",
                *("-D", str(self._data)),
                *("-k", str(self._folder)),
                *("-c", f"listen_addresses=127.0.0.1,{self._address or '127.0.0.1'}"),
                *("-p", str(self.port)),
                *("-c", "max_connections=200"),
            ],
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_SECONDS
        pause = threading.Event()
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
                pause.wait(0.05)
            else:
                return

    def stop(self, *, immediate: bool = True) -> None:
        """Stop it; `immediate` is a crash: connections break, the log is replayed at the start."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
            self._process.wait(timeout=30)
            self._process = None

    def url(self, name: str) -> str:
        return f"postgresql://tests@{self._address or '127.0.0.1'}:{self.port}/{name}"

    def new_database(self, *, is_empty: bool = False) -> str:
        """Make a database and return its URL; tables are there already unless it `is_empty`."""
        if is_empty:
            return self._create()
        if self._pattern is None:
            # To make the tables takes ten times as long as to copy them.
            url = self._create()
            with tempfile.TemporaryDirectory() as folder:
                database = open_database(url, data_dir=Path(folder))
                JobQueue(database).close()
                database.close()
            self._pattern = url.rpartition("/")[2]
        return self._create(f"template {self._pattern}")

    def _create(self, how: str = "") -> str:
        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"create database {name} {how}".encode())
        return self.url(name)

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            user=self._user,
            stdout=subprocess.DEVNULL,
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
