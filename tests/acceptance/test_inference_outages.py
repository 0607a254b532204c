"""A real Triton that is away, slow, wrong, dying or without memory, and a whole node before it.

What docs/models.md says in "When something fails": which state the job has, who goes on by itself,
that nothing is lost or run twice, and that other series are not concerned.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from dicomnode.cli.main import app
from tests.support.ct import make_series
from tests.support.node import (
    NodeProcess,
    is_delivered,
    pipeline,
    storescu,
    wait_until,
    write_config,
)
from tests.support.steered_triton import MOODY_MODELS, SteeredTriton

DEADLINE_SECONDS = 5


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SteeredTriton]:
    triton = SteeredTriton(tmp_path_factory.mktemp("triton"))
    try:
        yield triton
    finally:
        triton.close()


@pytest.fixture(scope="module")
def node(steered: SteeredTriton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that starts while its inference server is away."""
    folder = tmp_path_factory.mktemp("node")
    config = write_config(
        folder / "dicomnode.toml",
        inference={
            "triton": steered.address,
            "model_repositories": [str(MOODY_MODELS)],
            "timeout_seconds": DEADLINE_SECONDS,
            "first_retry_seconds": 0.2,
            "longest_retry_seconds": 0.4,
        },
        pipelines=pipeline("results", quiet_seconds=0.3, segment=["moody"], classify=[]),
        destinations={"results": {"kind": "folder", "path": str(folder / "results")}},
    )
    with NodeProcess(config) as running:
        yield running


@pytest.fixture
def triton(steered: SteeredTriton, node: NodeProcess) -> SteeredTriton:
    """The server, up and in a good mood, and ready for the node."""
    steered.forget()
    steered.start()
    if not node.get("/readyz")["ready"]:
        wait_until(lambda: node.get("/readyz")["ready"], 20, "the node is ready")
    return steered


def send(node: NodeProcess, folder: Path, **changes) -> str:
    """Send a fresh small series; return its Series Instance UID."""
    paths = make_series(folder, **changes)
    sent = storescu(node, paths)
    assert sent.returncode == 0, sent.stdout
    return str(dcmread(paths[0], stop_before_pixels=True).SeriesInstanceUID)


def run(node: NodeProcess, *arguments: str) -> str:
    """Run a command of the node's in this process, which has its modules; return what it says."""
    ended = CliRunner().invoke(app, [*arguments, "--config", str(node.config)])
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def inference(node: NodeProcess) -> str:
    return str(node.get("/readyz")["components"]["inference"])


def waits(attempts: int):
    return lambda job: job["state"] == "waiting" and job["attempt"] >= attempts


def results_of(node: NodeProcess, series: str) -> list[str]:
    folder = node.config.parent / "results"
    return sorted(path.name for path in folder.rglob(f"{series}/*.dcm"))


def assert_done_once(node: NodeProcess, triton: SteeredTriton, series: str) -> None:
    """Delivered, with one job, from one answer of the model, whose time is on record."""
    done = node.wait_for_delivery(series=series, seconds=30)
    shown = json.loads(run(node, "jobs", "show", "--json", done["id"]))
    (asked,) = shown["models"]
    assert asked["server"].startswith("triton 2.")
    times = (shown["created_at"], asked["asked_at"], shown["updated_at"])
    assert sorted(times, key=datetime.fromisoformat) == list(times)
    assert len([each for each in node.jobs() if each["series_instance_uid"] == series]) == 1
    assert triton.notes().count("answered") == 1
    assert results_of(node, series) == ["seg.dcm", "sr.dcm"]


def test_absent_from_the_start_and_for_long(
    steered: SteeredTriton, node: NodeProcess, tmp_path: Path
):
    """Many attempts stand for an hour: each wait is a row, and outlives the node's process."""
    ready = node.get("/readyz")
    assert ready["ready"] is False
    assert steered.address in ready["components"]["inference"]
    series = send(node, tmp_path / "first")
    job = node.wait_for_job(waits(4), "the job waits for the fourth time", series=series)
    assert job["reason"] == "InferenceUnavailable"
    assert steered.address in job["sentence"]

    node.kill()
    node.start()
    later = send(node, tmp_path / "later")
    node.wait_for_job(waits(job["attempt"] + 1), "the job goes on waiting", series=series)
    node.wait_for_job(waits(2), "another waits beside it", series=later)

    steered.start()
    for each in (series, later):
        node.wait_for_delivery(series=each, seconds=30)
        assert results_of(node, each) == ["seg.dcm", "sr.dcm"]
    assert steered.notes().count("answered") == 2
    assert node.get("/readyz")["ready"] is True


def test_killed_in_a_call(node: NodeProcess, triton: SteeredTriton, tmp_path: Path):
    triton.set_mood("stall 60")
    series = send(node, tmp_path / "ct")
    wait_until(lambda: "asked stall" in triton.notes(), 20, "the model computes")
    triton.set_mood("well")
    os.kill(triton.process().pid, signal.SIGKILL)

    job = node.wait_for_job(
        lambda job: job["state"] == "waiting" or is_delivered(job), "it was noticed", series=series
    )
    if job["state"] == "waiting":
        assert job["reason"] in {"InferenceInterrupted", "InferenceUnavailable"}
    assert_done_once(node, triton, series)
    assert triton.notes().count("asked stall") == 1


def test_away_in_the_middle(node: NodeProcess, triton: SteeredTriton, tmp_path: Path):
    with triton.away():
        wait_until(lambda: inference(node) != "ready", 10, "readiness says so")
        series = send(node, tmp_path / "ct")
        node.wait_for_job(waits(3), "the job waits", series=series)

    assert_done_once(node, triton, series)
    wait_until(lambda: inference(node) == "ready", 10, "readiness says so")


def test_the_model_is_unloaded_in_between(node: NodeProcess, triton: SteeredTriton, tmp_path: Path):
    with triton.unloaded("moody"):
        said = "moody (UNAVAILABLE: unloaded)"
        wait_until(lambda: said in inference(node), 10, "readiness says so")
        series = send(node, tmp_path / "ct")
        job = node.wait_for_job(waits(3), "the job waits", series=series)
        assert job["reason"] == "InferenceUnavailable"
        assert "moody" in job["sentence"]

    assert_done_once(node, triton, series)
    assert inference(node) == "ready"


def test_the_model_is_slow(node: NodeProcess, triton: SteeredTriton, tmp_path: Path):
    triton.set_mood("stall 60")
    series = send(node, tmp_path / "ct")
    job = node.wait_for_job(waits(1), "the job waits", series=series)
    triton.set_mood("well")

    assert job["reason"] == "InferenceTimeout"
    assert f"'moody' did not answer within {DEADLINE_SECONDS} s" in job["sentence"]
    # The deadline reached the server: it does not go on for a caller that has left.
    wait_until(lambda: "cancelled" in triton.notes(), 10, "the model was told")
    assert_done_once(node, triton, series)


@pytest.mark.parametrize(
    ("mood", "reason", "words", "calls"),
    [
        ("raise", "InferenceRejected", "told to raise", 1),
        ("nan", "ModelContractMismatch", "wanted finite probabilities, found others", 1),
        ("short", "ModelContractMismatch", "wanted output MAPS FP32[1, 2, 9, ", 1),
        ("memory", "InferenceRejected", "Unable to allocate 4.00 GiB", 3),
    ],
    ids=["it raises", "NaN", "wrong shape", "out of memory"],
)
def test_what_no_waiting_mends_fails_the_job_and_no_other(
    node: NodeProcess,
    triton: SteeredTriton,
    tmp_path: Path,
    mood: str,
    reason: str,
    words: str,
    calls: int,
):
    triton.set_mood(mood)
    series = send(node, tmp_path / "ct")
    job = node.wait_for_job(lambda job: job["state"] == "failed", "it failed", series=series)

    assert job["reason"] == reason
    assert words in job["sentence"]
    assert triton.notes().count(f"asked {mood}") == calls
    assert results_of(node, series) == []

    triton.forget()
    assert inference(node) == "ready"
    if mood == "memory":
        run(node, "jobs", "retry", job["id"])
        assert_done_once(node, triton, series)


def test_the_kernel_gives_the_model_no_more_memory(
    node: NodeProcess, triton: SteeredTriton, tmp_path: Path
):
    """It takes the whole server along, which is started again."""
    triton.limit_memory("moody")
    # Large enough that what is sent to the model's process needs memory of its own.
    series = send(node, tmp_path / "ct", shape_kji=(24, 128, 120))
    job = node.wait_for_job(waits(1), "the job waits", series=series)

    assert job["reason"] == "InferenceInterrupted"
    assert job["sentence"].startswith("attempt 1 that the inference server did not survive")
    assert_done_once(node, triton, series)


def test_a_cancelled_job_ends_the_call(node: NodeProcess, triton: SteeredTriton, tmp_path: Path):
    triton.set_mood("stall 60")
    series = send(node, tmp_path / "ct")
    wait_until(lambda: "asked stall" in triton.notes(), 20, "the model computes")
    triton.set_mood("well")
    job = node.wait_for_job(lambda job: job["stage"] == "infer", "it is known", series=series)

    run(node, "jobs", "cancel", job["id"])

    wait_until(lambda: "cancelled" in triton.notes(), 10, "the model was told")
    assert "answered" not in triton.notes()
    cancelled = node.wait_for_job(lambda job: job["state"] == "cancelled", "it is", series=series)
    assert cancelled["files"] == {}
    # The server goes on with others, and this series is not taken up again.
    assert_done_once(node, triton, send(node, tmp_path / "next"))
    assert results_of(node, series) == []
