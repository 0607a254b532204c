"""Time from the last acknowledged instance to SEG and SR stored at the destination.

    python benchmarks/pipeline/run.py --slices 100 300 --series 1 4 --workers 1 2

Each run has a fresh node in processes of its own (a receiver and workers) on one Triton with the
reference models, and an archive that keeps what it is sent.  The series are synthetic chest CT of
512 x 512, each with its own UIDs.  A short series for each worker goes through before the clock
starts, unless ``--first`` asks for the first after a start.  Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dicomnode import log
from dicomnode.database import open_database
from dicomnode.database.job_rows import JobRow, list_deliveries, list_jobs
from dicomnode.demo.phantom import write_series
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.manifest import SHIPPED_MODELS
from dicomnode.receive.archive import Archive
from dicomnode.send.store_scu import send_instances
from dicomnode.standard.ae import AEAddress

COMMAND = Path(sys.executable).with_name("dicomnode")
QUIET_SECONDS = 1.0
LENGTH_MM = 320.0
DEADLINE_SECONDS = 900.0
MODEL_STAGES = ("segment", "classify")


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(otherwise)


@contextmanager
def role(config: Path, name: str) -> Iterator[list[str]]:
    """Run ``dicomnode NAME`` and yield its lines once it is ready."""
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
        yield lines
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def measure(
    series: list[list[Path]], *, warm: list[list[Path]], workers: int, triton: str, folder: Path
) -> tuple[list[float], list[JobRow], float]:
    """Send all series at once; return the time of each, the jobs, and the time until all ended.

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
    acknowledged: dict[int, float] = {}
    with ExitStack() as stack:
        stack.callback(archive.stop)
        lines = stack.enter_context(role(config, "receive"))
        (found,) = [each for each in lines if each.startswith("DICOM storage")]
        to = AEAddress.parse(found.rpartition(" ")[2])
        for _ in range(workers):
            stack.enter_context(role(config, "work"))

        def send(number: int, files: list[Path]) -> None:
            outcomes = send_instances(files, to=to, calling_ae_title="BENCH", timeout_seconds=120)
            check(all(each.accepted for each in outcomes), "an instance was refused")
            acknowledged[number] = time.time()

        def send_all(group: list[list[Path]]) -> None:
            threads = [threading.Thread(target=send, args=each) for each in enumerate(group)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        database = open_database("sqlite", data_dir=folder / "data")
        try:
            former: set[str] = set()
            if warm:
                send_all(warm)
                _wait(database, len(warm), former)
                with database.begin() as transaction:
                    former = {job.id for job in list_jobs(transaction)}
                acknowledged.clear()
            send_all(series)
            delivered = _wait(database, len(series), former)
            with database.begin() as transaction:
                jobs = [job for job in list_jobs(transaction) if job.id not in former]
        finally:
            database.close()
    last = sorted(acknowledged.values())
    ends = sorted(delivered)
    each = [end - begin for begin, end in zip(last, ends, strict=True)]
    return each, jobs, ends[-1] - last[0]


def _wait(database, count: int, former: set[str]) -> list[float]:
    """Return when each delivery ended, from the records; those of former jobs are left out."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    pause = threading.Event()
    while time.monotonic() < deadline:
        with database.begin() as transaction:
            rows = [
                row
                for job in list_jobs(transaction)
                if job.id not in former
                for row in list_deliveries(transaction, job.id)
            ]
        if len(rows) == count and all(row.state == "delivered" for row in rows):
            return [row.updated_at.timestamp() for row in rows]
        check(all(row.state != "parked" for row in rows), "a delivery was parked")
        pause.wait(0.1)
    raise SystemExit(f"not all of {count} series were delivered in {DEADLINE_SECONDS:g} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--series", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--first", action="store_true", help="the first series after a start")
    asked = parser.parse_args()
    log.configure(form="json", level="error")
    print(
        "| slices | series | workers | last s | all s | assemble | models | results | deliver "
        "| node's own s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bench-pipeline-") as scratch, ExitStack() as stack:
        root = Path(scratch)
        server = EmbeddedTriton(
            repositories=[SHIPPED_MODELS], run_dir=root / "triton", startup_seconds=120
        )
        stack.enter_context(server)
        short = [
            list(write_series(root / f"short-{n}", slices=40, uid_seed=1000 + n))
            for n in range(0 if asked.first else max(asked.workers))
        ]
        for slices in asked.slices:
            made: list[list[Path]] = []
            for number in range(max(asked.series)):
                folder = root / f"ct-{slices}-{number}"
                spacing = (LENGTH_MM / slices, 0.7, 0.7)
                made.append(
                    list(
                        write_series(folder, slices=slices, spacing_kji_mm=spacing, uid_seed=number)
                    )
                )
            for count in asked.series:
                for workers in asked.workers:
                    folder = Path(tempfile.mkdtemp(dir=root))
                    each, jobs, whole = measure(
                        made[:count],
                        warm=short[:workers],
                        workers=workers,
                        triton=server.address,
                        folder=folder,
                    )
                    _print_row(slices, count, workers, each, jobs, whole)


def _print_row(
    slices: int, count: int, workers: int, each: list[float], jobs: list[JobRow], whole: float
) -> None:
    def mean(*stages: str) -> float:
        return sum(job.seconds.get(stage, 0.0) for job in jobs for stage in stages) / len(jobs)

    models = mean(*MODEL_STAGES)
    own = max(each) - QUIET_SECONDS - models if count == 1 else float("nan")
    print(
        f"| {slices} | {count} | {workers} | {max(each):.2f} | {whole:.2f} "
        f"| {mean('assemble'):.2f} | {models:.2f} | {mean('results', 'picture', 'measure'):.2f} "
        f"| {mean('deliver archive'):.2f} | {own:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
