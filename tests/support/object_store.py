"""An S3 server for tests (moto's), on a free port, that can be away for a while."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

import boto3
from moto.server import ThreadedMotoServer


class ObjectStore:
    """A server with one bucket.  Use it as a context manager."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._port = 0
        # Servers of one process share what is stored in them.
        self._bucket = f"tests-{uuid.uuid4().hex}"

    def __enter__(self) -> Self:
        self._server.start()
        _host, self._port = self._server.get_host_and_port()
        self.client().create_bucket(Bucket=self._bucket)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def break_down(self) -> None:
        """Be away; what is stored stays."""
        self._server.stop()

    def mend(self) -> None:
        """Be there again, at the same port."""
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()

    def client(self):
        """Return Amazon's own client: another opinion on what lies in the bucket."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="tests",
            aws_secret_access_key="no secret",  # noqa: S106
        )

    def list_keys(self) -> list[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self._bucket)
        return sorted(each["Key"] for page in pages for each in page.get("Contents", ()))

    def section(self, folder: Path) -> str:
        """Return the section of a configuration that leads here."""
        secret = folder / "secret"
        secret.write_text("no secret\n")
        return f"""
[storage]
bucket = "{self._bucket}"
prefix = "node/a"
endpoint = "{self.endpoint}"
access_key_id = "tests"
secret_key_file = "{secret}"
timeout_seconds = 5
"""
