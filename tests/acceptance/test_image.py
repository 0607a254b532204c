"""The container image: what is in it, and the main job in a container of it.

Slow: the image is built first, unless IMAGE_IS_BUILT is set.  `make test-image` runs this alone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from itertools import takewhile
from pathlib import Path

import pytest
from pydicom import dcmread

from dicomnode import __version__
from tests.support.image import ROOT, Image, can_build, first_process
from tests.support.node import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.hardware, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def image():
    reason = can_build()
    if reason is not None:
        pytest.skip(reason)
    unpacked = Image.unpack()
    yield unpacked
    unpacked.remove()


@pytest.fixture
def data(tmp_path):
    """A folder as a volume is given to the image: owned by its user."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o750)
    os.chown(folder, 10001, 10001)
    # Whoever runs in the container must be able to come this far.
    for parent in folder.parents:
        if parent.is_relative_to("/tmp"):  # noqa: S108
            parent.chmod(parent.stat().st_mode | 0o011)
    return folder


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# --- what is in it


def test_it_runs_as_a_numbered_user_that_is_not_root(image):
    assert image.config["User"] == "10001:10001"


def test_the_entry_point_is_the_command(image):
    assert image.config["Entrypoint"][-1] == "dicomnode"
    assert image.config["Cmd"] == ["serve"]


def test_it_says_what_it_is(image):
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in image.config["Labels"].items()
    }

    assert labels["title"] == "dicomnode"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] == __version__
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["revision"])
    assert labels["base.name"] == "docker.io/library/debian:bookworm-slim"


def test_no_build_tool_is_left(image):
    tools = {"pip", "pip3", "gcc", "cc", "c++", "make", "ld", "hatchling", "cyclonedx-py", "git"}
    folders = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "opt/dicomnode/bin")

    found = {each.name for folder in folders for each in (image.root / folder).iterdir()} & tools

    assert found == set()
    assert not list(image.root.glob("opt/dicomnode/lib/python*/site-packages/pip"))
    assert not (image.root / "tools").exists()


def test_no_program_makes_anybody_more_than_they_are(image):
    found = [
        path
        for folder in ("usr", "opt")
        for path in (image.root / folder).rglob("*")
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o6000
    ]

    assert found == []


def test_the_list_of_materials_names_what_was_locked(image):
    listed = json.loads((image.root / "opt/dicomnode/sbom.cdx.json").read_text())
    named = {
        re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"]
        for each in listed["components"]
    }
    locked = dict(
        re.findall(
            r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements" / "run.lock").read_text(), re.MULTILINE
        )
    )

    assert listed["bomFormat"] == "CycloneDX"
    assert listed["metadata"]["component"]["name"] == "dicomnode-ct"
    # The package stands once more, as installed.
    assert {name: named.get(name) for name in locked} == locked
    assert set(named) - set(locked) <= {"dicomnode-ct"}


# --- a container of it


def test_the_command_answers(image, data):
    status, out, err = image.run("--version", data=data)

    assert (status, out.strip(), err) == (0, __version__, "")


def test_its_own_configuration_has_no_faults(image, data):
    status, out, err = image.run("config", "check", data=data)

    assert (status, err) == (0, "")
    assert "no faults" in out


def test_nothing_can_be_written_but_data_and_scratch(image, data):
    tried = (
        "for each in / /opt/dicomnode /etc/dicomnode /usr/bin /var/lib/dicomnode /tmp /dev/shm; do"
        ' touch "$each/x" 2>/dev/null && echo "$each"; done; id -u'
    )

    _, out, _ = image.run("-c", tried, data=data, entrypoint=["/bin/sh"])

    assert out.split() == ["/var/lib/dicomnode", "/tmp", "/dev/shm", "10001"]  # noqa: S108


def test_the_demonstration_runs(image, data):
    status, _, err = image.run("demo", "--out", "/var/lib/dicomnode/demo", data=data, seconds=300)

    assert status == 0, err
    assert {"seg.dcm", "sr.dcm", "overlay.png"} <= {each.name for each in (data / "demo").iterdir()}


@pytest.fixture
def served(image, data):
    """A node in a container: its process, DICOM port, and how to run another command beside it."""
    ports = {"DICOMNODE_RECEIVE__PORT": free_port(), "DICOMNODE_CONSOLE__PORT": free_port()}
    environment = {name: str(value) for name, value in ports.items()}
    environment["DICOMNODE_RECEIVE__HOST"] = "127.0.0.1"
    container = image.start(data=data, environment=environment)
    lines = list(takewhile("ready\n".__ne__, iter(container.stdout.readline, "")))
    assert [line for line in lines if line.startswith("DICOM storage")], container.stderr.read()

    def beside(*arguments, entrypoint=None):
        return image.run(
            *arguments, data=data, environment=environment, seconds=60, entrypoint=entrypoint
        )

    yield container, ports["DICOMNODE_RECEIVE__PORT"], beside
    container.kill()
    container.communicate()


def test_a_node_answers_receives_and_delivers(served, data, write_phantom):
    _, port, beside = served
    status, out, err = beside("echo", f"DICOMNODE@127.0.0.1:{port}")
    assert (status, err) == (0, "")
    assert "answered" in out

    paths = write_phantom(data / "ct")
    status, _, err = beside("send", "/var/lib/dicomnode/ct", "--to", f"DICOMNODE@127.0.0.1:{port}")
    assert status == 0, err

    def results():
        return sorted((data / "results").glob("*/*.dcm"))

    found = wait_until(lambda: len(results()) == 2 and results(), 120, "results were written")
    of = {dcmread(path, stop_before_pixels=True).Modality for path in found}
    assert of == {"SEG", "SR"}
    assert len(paths) > 2


def test_the_health_check_says_whether_it_lives(image, served, data):
    _, _, beside = served
    check = image.config["Healthcheck"]["Test"][1:]

    alive, _, err = beside(entrypoint=check)
    assert (alive, err) == (0, "")

    nobody = {
        "DICOMNODE_CONSOLE__PORT": str(free_port()),
        "DICOMNODE_HEALTH__PORT": str(free_port()),
    }
    dead, _, err = image.run(data=data, environment=nobody, entrypoint=check)
    assert dead == 1
    assert "/healthz" in err


def test_sigterm_drains_it(served):
    container, _, _ = served

    os.kill(first_process(container), signal.SIGTERM)
    _, err = container.communicate(timeout=60)

    assert container.returncode == 0, err
    assert err.splitlines()[-1] == "stopped"


def test_a_signal_before_it_is_up_ends_it_too(image, data):
    container = image.start(data=data)

    def has_begun():
        return Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()

    wait_until(has_begun, 30, "the container began")
    pid = first_process(container)
    wait_until(lambda: Path(f"/proc/{pid}/comm").read_text().strip() == "tini", 30, "its init runs")
    os.kill(pid, signal.SIGTERM)

    container.communicate(timeout=30)
    assert container.returncode is not None
