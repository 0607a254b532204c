"""Workers and receivers as processes that can be killed, with a journal of every step they begin.

Processes are forked from one that has imported everything: a start takes a tenth of a second.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from dicomnode import engine as engine_module
from dicomnode import log
from dicomnode.config import Config, load
from dicomnode.database import Database, open_database
from dicomnode.database.series_rows import close_series, record_instance
from dicomnode.engine import Engine, JobQueue
from dicomnode.errors import SendError
from dicomnode.node.composition import Node
from dicomnode.node.housekeeping import Chore, Housekeeper
from dicomnode.node.triton import open_triton
from dicomnode.pipeline import delivery as delivery_module
from dicomnode.pipeline import workflows as workflows_module
from dicomnode.pipeline.enqueue import queues, submit
from dicomnode.pipeline.looking_after import park_broken
from dicomnode.pipeline.setup import build_setups
from dicomnode.pipeline.workflows import Workflows
from dicomnode.send.store_scu import echo
from dicomnode.series import watch as watch_module
from dicomnode.series.registry import SeriesRegistry
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.storage import open_storage
from dicomnode.standard.ae import AEAddress
from dicomnode.stopping import StopRequest
from tests.support.fake_triton import FakeTriton
from tests.support.forked import CONTEXT

_Found = TypeVar("_Found")


def wait_until(condition: Callable[[], _Found], seconds: float, what: str) -> _Found:
    """Ask `condition` until it holds and return what it said; fail at the deadline."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"within {seconds:g} s it did not happen that {what}"
        pause.wait(0.03)  # other processes have no condition to wait on


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a worker process is told.

    It asks the server that its configuration names, or stands in for the embedded one.
    `kills` maps a series to the point at which its worker dies, once: ``step:begin`` (nothing of
    the step is done), ``step:end`` (all is done, its result is not kept), ``step:kept``.
    """

    config: Path
    folder: Path
    slot: str = "worker"
    shares: bool = True
    sweep_seconds: float = 0.4
    kills: Mapping[str, str] = field(default_factory=dict)
    triton_seconds: float = 0.0
    fail_share: float = 0.0
    unavailable_slices: int = 0
    analyses: int = 1


class Journal:
    """Lines appended by many processes: time, process, workflow, step, what."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, workflow: str, step: str, what: str) -> None:
        line = f"{time.time():.3f} {os.getpid()} {workflow} {step} {what}\n".encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def read(self) -> list[tuple[float, int, str, str, str]]:
        if not self.path.exists():
            return []
        lines = (line.split(" ") for line in self.path.read_text().splitlines())
        return [
            (float(t), int(pid), workflow, step, what) for t, pid, workflow, step, what in lines
        ]


def run_worker(spec: Spec) -> None:
    """Work until SIGTERM."""
    stop = StopRequest()
    signal.signal(signal.SIGTERM, lambda *_: stop.make())
    _log_to(spec.folder)
    _arm(spec)
    config = load(spec.config)
    database = open_database(config.database.url, data_dir=config.data_dir)
    storage = open_storage(config)
    jobs = JobQueue(database)
    first = (spec.folder / "seen", spec.unavailable_slices) if spec.unavailable_slices else None
    client: Any = FakeTriton(
        seconds=spec.triton_seconds, fail_share=spec.fail_share, unavailable_first=first
    )
    parts = ExitStack()
    if config.inference.triton != "embedded":
        client = open_triton(config, parts, database=database)
    workflows = Workflows(
        database=database,
        store=storage.store,
        quarantine=storage.quarantine,
        outbox=storage.outbox,
        setups=build_setups(config),
        client=client,
        jobs=jobs,
        destinations=config.destinations,
        waits=(0.3, 5.0),
    )
    engine = Engine(
        database,
        slot=spec.slot,
        shares=spec.shares,
        workflows=workflows.by_name(),
        queues=queues(analyses=spec.analyses),
        sweep_seconds=spec.sweep_seconds,
    )
    engine.start()
    keeper = Housekeeper(
        Chore(name="park_broken", every_seconds=0.4, do=lambda: park_broken(database, jobs))
    )
    keeper.start()
    Journal(spec.folder / "journal").write("-", "worker", engine.slot)
    stop.wait()
    engine.stop(drain_seconds=20)
    keeper.stop(wait_seconds=20)
    parts.close()
    jobs.close()
    database.close()
    os._exit(0)


def run_closer(spec: Spec) -> None:
    """Close every open series, as a receiver does, until SIGTERM."""
    stop = StopRequest()
    signal.signal(signal.SIGTERM, lambda *_: stop.make())
    _log_to(spec.folder)
    config = load(spec.config)
    database = open_database(config.database.url, data_dir=config.data_dir)
    setups = build_setups(config)
    jobs = JobQueue(database)

    def submit_and_die(transaction: Any, revision: Any) -> str | None:
        job_id = submit(jobs, transaction, revision, setups[revision.pipeline].version)
        _die_at(spec, revision.series_instance_uid, "close:end")
        return job_id

    registry = SeriesRegistry(
        database,
        completion={name: each.config.completion for name, each in setups.items()},
        submit=submit_and_die,
    )
    registry.start()
    stop.wait()
    registry.stop()
    os._exit(0)


def _log_to(folder: Path) -> None:
    descriptor = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(descriptor, 2)
    log.configure(form="json", level="info")


def _arm(spec: Spec) -> None:
    """Journal every step, and die where `spec` says so."""
    journal = Journal(spec.folder / "journal")
    original = engine_module.run_step
    record_sent = delivery_module.record_sent

    def run_step(name: str, function: Callable[[], Any]) -> Any:
        workflow = str(engine_module.dbos.DBOS.workflow_id)
        uid = workflow.split(":", maxsplit=1)[0]

        def inner() -> Any:
            journal.write(workflow, name, "begin")
            _die_at(spec, uid, f"{name}:begin")
            result = function()
            _die_at(spec, uid, f"{name}:end")
            return result

        result = original(name, inner)
        journal.write(workflow, name, "kept")
        _die_at(spec, uid, f"{name}:kept")
        return result

    def record(transaction: Any, *arguments: Any, **named: Any) -> None:
        uid = str(engine_module.dbos.DBOS.workflow_id).split(":")[0]
        _die_at(spec, uid, "accepted:end")
        record_sent(transaction, *arguments, **named)

    workflows_module.run_step = run_step  # type: ignore[assignment]
    delivery_module.record_sent = record
    (spec.folder / "seen").mkdir(exist_ok=True)
    (spec.folder / "killed").mkdir(exist_ok=True)


def _die_at(spec: Spec, series_instance_uid: str, point: str) -> None:
    wanted = spec.kills.get(series_instance_uid)
    if wanted == f"always {point}":
        os.kill(os.getpid(), signal.SIGKILL)
    if wanted != point:
        return
    try:
        (spec.folder / "killed" / series_instance_uid).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class Crew:
    """Processes that are started again when they die.  Use it as a context manager."""

    def __init__(self) -> None:
        self.deaths = 0
        self._members: dict[str, tuple[Callable[[Any], None], Any]] = {}
        self._processes: dict[str, Any] = {}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._nurse = threading.Thread(target=self._tend, daemon=True)

    def __enter__(self) -> Self:
        self._nurse.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._nurse.join()
        # What they leave is what a test is about; that they can stop, too, is another test's.
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.join()

    def add(self, name: str, target: Callable[[Any], None], spec: Any) -> None:
        with self._lock:
            self._members[name] = (target, spec)
            self._start(name)

    def kill(self, name: str, how: int = signal.SIGKILL) -> int:
        """Send a signal; return the process id."""
        with self._lock:
            pid = int(self._processes[name].pid)
            if self._processes[name].is_alive():
                os.kill(pid, how)
            return pid

    def named(self, pid: int) -> str:
        """Return which member has a process id."""
        with self._lock:
            (name,) = [each for each, at in self._processes.items() if at.pid == pid]
            return name

    def dismiss(self, name: str) -> None:
        """Kill a member for good."""
        with self._lock:
            del self._members[name]
            process = self._processes.pop(name)
            process.kill()
            process.join()

    def _start(self, name: str) -> None:
        target, spec = self._members[name]
        process = CONTEXT.Process(target=target, args=(spec,), daemon=True)
        process.start()
        self._processes[name] = process

    def _tend(self) -> None:
        while not self._stopping.wait(0.05):
            with self._lock:
                for name in tuple(self._members):
                    if not self._processes[name].is_alive():
                        self.deaths += 1
                        self._start(name)


@contextmanager
def opened(config: Path) -> Iterator[tuple[Config, Database]]:
    """Open the database that a configuration names."""
    settings = load(config)
    database = open_database(settings.database.url, data_dir=settings.data_dir)
    try:
        yield settings, database
    finally:
        database.close()


def receive(config: Path, paths: list[Path], *, pipeline: str, close: bool = True) -> str:
    """Store and record a series as the receiver does; return the Series Instance UID."""
    from pydicom import dcmread

    from dicomnode.spool.part10 import read_stored

    with opened(config) as (settings, database):
        store = InstanceStore(settings.data_dir, reserve_bytes=0)
        uid = ""
        for path in paths:
            meta, identity, data_set = read_stored(path)
            uid = identity.series_instance_uid
            ref = store.store(
                pipeline=pipeline,
                sop_class_uid=identity.sop_class_uid,
                sop_instance_uid=identity.sop_instance_uid,
                study_instance_uid=identity.study_instance_uid,
                series_instance_uid=uid,
                transfer_syntax_uid=meta.transfer_syntax_uid,
                calling_ae_title="SENDER",
                data_set=data_set,
            )
            with database.begin() as transaction:
                record_instance(
                    transaction, pipeline, ref, calling_ae_title="SENDER", at=datetime.now(UTC)
                )
        assert uid == dcmread(paths[0], stop_before_pixels=True).SeriesInstanceUID
        if close:
            jobs = JobQueue(database)
            setups = build_setups(settings)
            with database.begin() as transaction:
                revision = close_series(transaction, pipeline, uid, because="quiet")
                assert revision is not None
                submit(jobs, transaction, revision, setups[pipeline].version)
            jobs.close()
    return uid


def is_up(to: AEAddress, *, calling_ae_title: str = "CT") -> bool:
    """Whether a receiver answers to C-ECHO."""
    try:
        # pynetdicom would leave the socket of a refused connection to the garbage collector.
        socket.create_connection((to.host, to.port), timeout=5).close()
        echo(to, calling_ae_title=calling_ae_title, timeout_seconds=5)
    except (OSError, SendError):
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class ReceiverSpec:
    """What a receiver process is told."""

    config: Path
    folder: Path
    port: int
    adopt_seconds: float = 1.0


def run_receiver(spec: ReceiverSpec) -> None:
    """Receive on a given port, as `dicomnode receive` does, until SIGTERM.

    It looks for what dead receivers left every `adopt_seconds`; in operation that is rarer.
    """
    stop = StopRequest()
    watch_module._ADOPT_SECONDS = spec.adopt_seconds  # type: ignore[misc]
    signal.signal(signal.SIGTERM, lambda *_: stop.make())
    _log_to(spec.folder)
    config = load(spec.config)
    receive = config.receive.model_copy(update={"port": spec.port})
    node = Node(config.model_copy(update={"receive": receive}), roles=frozenset(("receive",)))
    node.start()
    stop.wait()
    node.stop()
    os._exit(0)
