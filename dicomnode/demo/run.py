"""The demonstration: a phantom goes in by C-STORE, SEG and SR come out at an archive.

Everything is real: a node on free ports, its Triton, a storage SCP as the destination.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pydicom import dcmread

from dicomnode.config import Config
from dicomnode.database.job_rows import END_STATES, JobRow, list_deliveries, list_jobs
from dicomnode.demo.phantom import write_series
from dicomnode.errors import DemoFailed
from dicomnode.node.composition import Node
from dicomnode.pipeline.objects import PICTURE_FILE, SEG_FILE, SR_FILE, SUMMARY_FILE
from dicomnode.receive.archive import Archive
from dicomnode.send.store_scu import send_instances
from dicomnode.spool.durable import write_durably
from dicomnode.spool.results import Outbox
from dicomnode.standard.ae import AEAddress
from dicomnode.standard.sop_classes import SEGMENTATION

PIPELINE: Final = "chest-ct"
AE_TITLE: Final = "DICOMNODE"
SENDER: Final = "MODALITY"
ARCHIVE: Final = "ARCHIVE"

_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demonstration made.

    Attributes
    ----------
    summary : dict
        The content of ``findings.json``.
    files : tuple of Path
        SEG, SR, picture and findings, in the output folder.
    seconds : dict of str to float
        Time of each part, in order.
    """

    summary: dict[str, Any]
    files: tuple[Path, ...]
    seconds: dict[str, float]


def run_demo(
    out: Path,
    *,
    deadline_seconds: float,
    tell: Callable[[str], None],
    advance: Callable[[int, int], None],
) -> DemoResult:
    """Make a CT, send it through a node of its own, and gather what arrives.

    Parameters
    ----------
    out : Path
        Gets the CT in ``ct/`` and the results.
    deadline_seconds : float
        Longest wait for the results after the CT was sent.
    tell : callable
        Told what happens, in words.
    advance : callable
        Told how many instances of how many were sent.

    Raises
    ------
    DemoFailed
        If no result came in time, or the analysis failed.
    """
    seconds: dict[str, float] = {}

    def timed(name: str, begin: float) -> None:
        seconds[name] = round(time.perf_counter() - begin, 2)

    with ExitStack() as stack:
        begin = time.perf_counter()
        tell("making a synthetic chest CT")
        paths = write_series(out / "ct")
        timed("make the CT", begin)
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="dicomnode-demo-")))
        archive = Archive(scratch / "archive", ae_title=ARCHIVE)
        archive.start()
        stack.callback(archive.stop)
        begin = time.perf_counter()
        tell("starting the node and its Triton")
        node = Node(_config(scratch, archive))
        node.start()
        stack.callback(node.stop)
        timed("start the node", begin)
        address = AEAddress(AE_TITLE, "127.0.0.1", node.receive_port)
        tell(f"sending {len(paths)} instances to {address} (C-STORE)")
        begin = time.perf_counter()
        sent = 0

        def count(_outcome: object) -> None:
            nonlocal sent
            sent += 1
            advance(sent, len(paths))

        outcomes = send_instances(
            paths, to=address, calling_ae_title=SENDER, timeout_seconds=30.0, on_sent=count
        )
        timed("send", begin)
        refused = [each for each in outcomes if not each.accepted]
        if refused:
            raise DemoFailed(f"the node refused {len(refused)} instances: {refused[0].words}")
        tell("waiting for SEG and SR to arrive at the archive")
        begin = time.perf_counter()
        job = _wait_for_delivery(node, deadline_seconds)
        timed("wait for the results", begin)
        seconds |= {f"  of which {stage}": took for stage, took in job.seconds.items()}
        files = _gather(out, archive, Outbox(scratch / "node"), job)
    return DemoResult(summary=_read_json(out / SUMMARY_FILE), files=files, seconds=seconds)


def _config(scratch: Path, archive: Archive) -> Config:
    """Describe a node on free ports that answers to the archive."""
    return Config.model_validate(
        {
            "data_dir": scratch / "node",
            "receive": {"port": 0},
            "console": {"port": 0},
            "pipelines": {
                PIPELINE: {
                    "ae_title": AE_TITLE,
                    "destinations": ["archive"],
                    "completion": {"quiet_seconds": 1.0},
                }
            },
            "destinations": {
                "archive": {
                    "kind": "dimse",
                    "ae_title": ARCHIVE,
                    "host": "127.0.0.1",
                    "port": archive.port,
                }
            },
        }
    )


def _wait_for_delivery(node: Node, deadline_seconds: float) -> JobRow:
    end = time.monotonic() + deadline_seconds
    pause = threading.Event()
    while time.monotonic() < end:
        with node.database.begin() as transaction:
            jobs = list_jobs(transaction)
            states = {each.state for job in jobs for each in list_deliveries(transaction, job.id)}
        if jobs and jobs[0].state in END_STATES - {"done"}:
            raise DemoFailed(f"the analysis ended as {jobs[0].state}: {jobs[0].sentence}")
        if states == {"delivered"}:
            return jobs[0]
        if "parked" in states:
            raise DemoFailed("the results could not be delivered to the archive")
        pause.wait(_POLL_SECONDS)  # the database has no call that waits
    raise DemoFailed(f"no result came within {deadline_seconds:g} s")


def _gather(out: Path, archive: Archive, outbox: Outbox, job: JobRow) -> tuple[Path, ...]:
    """Copy what the archive received, and the picture and findings from the node's outbox."""
    files: list[Path] = []
    for received in archive.wait_for(2, timeout=10.0):
        kind = dcmread(received, specific_tags=["SOPClassUID"]).SOPClassUID
        files.append(out / (SEG_FILE if kind == SEGMENTATION else SR_FILE))
        write_durably(files[-1], received.read_bytes())
    for name in (PICTURE_FILE, SUMMARY_FILE):
        files.append(out / name)
        write_durably(files[-1], outbox.path(job.files[name]).read_bytes())
    return tuple(sorted(files))


def _read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
