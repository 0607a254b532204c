"""One run: a fresh node on a Triton that is there, series sent to it at once, times kept.

What is printed of many runs is `run`'s.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import cpu_seconds, forget_peaks, held_mib, peak_mib, with_descendants
from pydicom import dcmread

from dicomnode.database import open_database
from dicomnode.database.job_rows import JobRow, list_deliveries, list_jobs
from dicomnode.receive.archive import Archive
from dicomnode.send.store_scu import send_instances
from dicomnode.standard.ae import AEAddress

COMMAND = Path(sys.executable).with_name("dicomnode")
QUIET_SECONDS = 1.0
DEADLINE_SECONDS = 1800.0
LOOK_SECONDS = 0.2
MODEL_STAGES = ("segment", "classify")
RESULT_STAGES = ("results", "picture", "measure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run took.

    Attributes
    ----------
    last_seconds : float
        From a series' last acknowledged instance to its results stored; the longest.
    all_seconds : float
        From the first series' last acknowledgement to the results of all stored.
    stages : dict of str to float
        Mean time of each stage, seconds.
    computing_seconds : float
        Processor time of workers and Triton from the first instance sent to the last result.
    worker_mib : int
        Peak of the largest worker, with the shared memory that its tensors lie in.
    triton_mib : int
        What Triton and its models' processes hold at the end; they keep it for what comes next.
    """

    last_seconds: float
    all_seconds: float
    stages: dict[str, float]
    computing_seconds: float
    worker_mib: int
    triton_mib: int

    @property
    def models_seconds(self) -> float:
        """Mean time of the models for a series."""
        return self.mean(*MODEL_STAGES)

    @property
    def own_seconds(self) -> float:
        """What is left of the longest time without quiet time and models."""
        return self.last_seconds - QUIET_SECONDS - self.models_seconds

    def mean(self, *stages: str) -> float:
        return sum(self.stages.get(stage, 0.0) for stage in stages)


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(otherwise)


def measure(
    series: list[list[Path]],
    *,
    warm: list[list[Path]],
    workers: int,
    triton: str,
    triton_pids: set[int],
    folder: Path,
) -> Run:
    """Send all series at once, hold that each has its results once, and return what it took.

    Those of `warm` go before, and are not counted.
    """
    archive = Archive(folder / "archive", ae_title="ARCHIVE")
    archive.start()
    config = folder / "dicomnode.toml"
    config.write_text(f"""
data_dir = "{folder / "data"}"
work_concurrency = 2
[receive]
port = 0
reserve_bytes = 0
# One host plays all the modalities here; by default one may have 14 of 16.
max_associations = 64
max_associations_per_peer = 64
[inference]
triton = "{triton}"
[log]
form = "json"
level = "warning"
[pipelines.bench]
ae_title = "BENCH"
destinations = ["archive"]
[pipelines.bench.completion]
quiet_seconds = {QUIET_SECONDS}
[destinations.archive]
kind = "dimse"
ae_title = "ARCHIVE"
host = "127.0.0.1"
port = {archive.port}
concurrency = 4
""")
    with ExitStack() as stack:
        stack.callback(archive.stop)
        lines, _pid = stack.enter_context(_role(config, "receive"))
        (found,) = [each for each in lines if each.startswith("DICOM storage")]
        to = AEAddress.parse(found.rpartition(" ")[2])
        pids = [stack.enter_context(_role(config, "work"))[1] for _ in range(workers)]
        database = open_database("sqlite", data_dir=folder / "data")
        stack.callback(database.close)
        if warm:
            _wait(database, set(_send_all(warm, to)))
        computing = with_descendants(pids) | triton_pids
        forget_peaks(computing - triton_pids)
        before = cpu_seconds(computing)
        acknowledged = _send_all(series, to)
        jobs, delivered = _wait(database, set(acknowledged))
        computing |= with_descendants(pids)
        used = cpu_seconds(computing) - before
        memory = peak_mib(computing - triton_pids), held_mib(triton_pids)
    _hold_that_each_came_once(folder / "archive", set(acknowledged))
    return Run(
        last_seconds=max(delivered[uid] - acknowledged[uid] for uid in acknowledged),
        all_seconds=max(delivered.values()) - min(acknowledged.values()),
        stages=_means(jobs),
        computing_seconds=used,
        worker_mib=memory[0],
        triton_mib=memory[1],
    )


@contextmanager
def _role(config: Path, name: str) -> Iterator[tuple[list[str], int]]:
    """Run ``dicomnode NAME`` and yield its lines once it is ready, and its process id."""
    lines: list[str] = []
    with (config.parent / f"{name}.log").open("ab") as errors:
        process = subprocess.Popen(
            [COMMAND, name, "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        for line in process.stdout or ():
            lines.append(line.strip())
            if lines[-1] == "ready":
                break
        check("ready" in lines, f"dicomnode {name} did not become ready")
        yield lines, process.pid
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def _send_all(group: list[list[Path]], to: AEAddress) -> dict[str, float]:
    """Send series at once, each on an association.

    Returns when the last instance of each was acknowledged, by Series Instance UID.
    """
    acknowledged: dict[str, float] = {}
    refused: list[str] = []

    def send(uid: str, files: list[Path]) -> None:
        outcomes = send_instances(files, to=to, calling_ae_title="BENCH", timeout_seconds=120)
        acknowledged[uid] = time.time()
        refused.extend(uid for each in outcomes if not each.accepted)

    threads = [threading.Thread(target=send, args=(_uid(each), each)) for each in group]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(not refused, f"{len(refused)} instances were refused")
    check(len(acknowledged) == len(group), "a series could not be sent")
    return acknowledged


def _uid(files: list[Path]) -> str:
    return str(dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)


def _wait(database, wanted: set[str]) -> tuple[list[JobRow], dict[str, float]]:
    """Return the jobs of the series and when each was delivered, from the records."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    pause = threading.Event()
    while time.monotonic() < deadline:
        with database.begin() as transaction:
            jobs = [each for each in list_jobs(transaction) if each.series_instance_uid in wanted]
            rows = [(each, list_deliveries(transaction, each.id)) for each in jobs]
        check(len(jobs) <= len(wanted), "a series was analyzed more than once")
        ended = {job.state for job in jobs} - {"queued", "running", "waiting", "done"}
        check(not ended, f"jobs ended as {', '.join(sorted(ended))}")
        parked = [row for _, found in rows for row in found if row.state == "parked"]
        check(not parked, "a delivery was parked")
        delivered = {
            job.series_instance_uid: row.updated_at.timestamp()
            for job, found in rows
            for row in found
            if row.state == "delivered"
        }
        if set(delivered) == wanted:
            return jobs, delivered
        pause.wait(LOOK_SECONDS)
    raise SystemExit(f"not all of {len(wanted)} series were delivered in {DEADLINE_SECONDS:g} s")


def _hold_that_each_came_once(archive: Path, wanted: set[str]) -> None:
    """Check that the archive has one SEG and one SR of each series."""
    found: dict[str, list[str]] = {uid: [] for uid in wanted}
    for path in archive.glob("*.dcm"):
        ds = dcmread(path, stop_before_pixels=True)
        if ds.Modality == "SEG":
            sources = {each.SeriesInstanceUID for each in ds.ReferencedSeriesSequence}
        else:
            study = ds.CurrentRequestedProcedureEvidenceSequence[0]
            sources = {each.SeriesInstanceUID for each in study.ReferencedSeriesSequence}
        for source in sources & wanted:
            found[source].append(str(ds.Modality))
    wrong = [each for each in found.values() if sorted(each) != ["SEG", "SR"]]
    check(not wrong, f"wanted a SEG and an SR of each series, found otherwise for {len(wrong)}")


def _means(jobs: list[JobRow]) -> dict[str, float]:
    names = {name for job in jobs for name in job.seconds}
    return {name: sum(job.seconds.get(name, 0.0) for job in jobs) / len(jobs) for name in names}
