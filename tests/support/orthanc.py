"""A throw-away Orthanc on free ports: the real archive that acceptance tests deliver to."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom import Dataset, dcmread

from tests.support.node import wait_until

START_SECONDS = 30.0


def find_orthanc() -> str:
    """Return the installed program; Debian keeps it where only root's PATH looks."""
    found = shutil.which("Orthanc", path=f"{os.environ['PATH']}:{os.defpath}:/usr/sbin:/sbin")
    assert found, "Orthanc is not installed: run tools/test-peers"
    return found


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One instance that Orthanc holds.  `changed` grows whenever it is stored anew."""

    orthanc_id: str
    sop_instance_uid: str
    modality: str
    received: str


class Orthanc:
    """Orthanc with an empty storage below `folder`.  Use it as a context manager.

    Its DICOM port cannot be bound to one interface; REST listens on loopback.  `settings` go into
    its configuration.
    """

    def __init__(
        self, folder: Path, *, ae_title: str = "ORTHANC", settings: Mapping[str, Any] | None = None
    ) -> None:
        self.ae_title = ae_title
        self._settings = dict(settings or {})
        self.dicom_port = free_port()
        self._folder = folder
        self._http_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def log_file(self) -> Path:
        return self._folder / "orthanc.log"

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        storage = str(self._folder / "storage")
        configuration = {
            "Name": "peer",
            "StorageDirectory": storage,
            "IndexDirectory": storage,
            "HttpPort": self._http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomPort": self.dicom_port,
            "DicomAet": self.ae_title,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": True,
            "OverwriteInstances": True,  # so that a second C-STORE of one UID is seen
            "Plugins": [],
        } | self._settings
        file = self._folder / "orthanc.json"
        file.write_text(json.dumps(configuration))
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [find_orthanc(), str(file)], stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(self._answers, START_SECONDS, "Orthanc answered")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def instances(self) -> dict[str, Stored]:
        """Return what it holds, by SOP Instance UID."""
        found = {}
        for name in self._get("/instances"):
            tags = self._get(f"/instances/{name}/simplified-tags")
            received = self._get_text(f"/instances/{name}/metadata/ReceptionDate")
            found[tags["SOPInstanceUID"]] = Stored(
                orthanc_id=name,
                sop_instance_uid=tags["SOPInstanceUID"],
                modality=tags["Modality"],
                received=received,
            )
        return found

    def store_requests(self) -> int:
        """Return how often something was stored, repeats included."""
        changes = self._get("/changes?limit=10000")["Changes"]
        return sum(change["ChangeType"] == "NewInstance" for change in changes)

    def fetch(self, stored: Stored) -> Dataset:
        """Return an instance as it lies in the archive."""
        return dcmread(BytesIO(self._get_bytes(f"/instances/{stored.orthanc_id}/file")))

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log_file.read_text()[-2000:]
        try:
            self._get("/system")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def _get(self, path: str) -> Any:
        return json.loads(self._get_bytes(path))

    def _get_text(self, path: str) -> str:
        return self._get_bytes(path).decode()

    def _get_bytes(self, path: str) -> bytes:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self._http_port}{path}", timeout=10
        ) as answer:
            return bytes(answer.read())
