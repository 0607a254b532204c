"""Orthanc with its DICOMweb plug-in: a real STOW-RS service and Storage Commitment SCP."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "node", "let-me-in"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class WebArchive:
    """Orthanc on free ports; REST and DICOMweb want a password.  Use it as a context manager.

    `modalities` are the peers it may open associations to: name to (AE title, host, port).
    """

    ae_title = "ORTHANC"

    def __init__(
        self, folder: Path, *, modalities: dict[str, tuple[str, str, int]] | None = None
    ) -> None:
        self.dicom_port = free_port()
        self._http_port = free_port()
        self._folder = folder
        self._modalities = modalities or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = shutil.which("Orthanc", path=f"{os.environ['PATH']}:{os.defpath}:/usr/sbin")
        assert program, "Orthanc is not installed: run tools/test-peers"
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "orthanc.json"
        file.write_text(
            json.dumps(
                {
                    "StorageDirectory": str(self._folder / "storage"),
                    "IndexDirectory": str(self._folder / "storage"),
                    "HttpPort": self._http_port,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": True,
                    "RegisteredUsers": {USER: PASSWORD},
                    "DicomPort": self.dicom_port,
                    "DicomAet": self.ae_title,
                    "DicomAlwaysAllowStore": True,
                    "DicomModalities": {k: list(v) for k, v in self._modalities.items()},
                    "Plugins": [str(PLUGIN)],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                }
            )
        )
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, str(file)], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 30
        pause = threading.Event()
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
            pause.wait(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http_port}/dicom-web"

    def sop_instance_uids(self) -> set[str]:
        return {
            self._get(f"/instances/{name}/simplified-tags")["SOPInstanceUID"]
            for name in self._get("/instances")
        }

    def delete(self, sop_instance_uid: str) -> None:
        """Lose an instance."""
        for name in self._get("/instances"):
            if self._get(f"/instances/{name}/simplified-tags")["SOPInstanceUID"] == (
                sop_instance_uid
            ):
                self._call("DELETE", f"/instances/{name}")

    def _answers(self) -> bool:
        try:
            self._get("/system")
        except httpx.HTTPError:
            return False
        return True

    def _get(self, path: str) -> Any:
        return self._call("GET", path).json()

    def _call(self, method: str, path: str) -> httpx.Response:
        response = httpx.request(
            method,
            f"http://127.0.0.1:{self._http_port}{path}",
            auth=(USER, PASSWORD),
            timeout=10,
        )
        return response.raise_for_status()
