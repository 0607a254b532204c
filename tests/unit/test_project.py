"""The project itself: what is shipped, locked, named in the Makefile, and run in CI."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dicomnode

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["embedded"]
DEV = PROJECT["dependency-groups"]["dev"]
BUILD = PROJECT["build-system"]["requires"]

GROUPS = PROJECT["dependency-groups"]
EXTRAS = [each for extra in PROJECT["project"]["optional-dependencies"].values() for each in extra]
SCRIPTS = ("find-python", "apt-install", "test-peers", "helm", "image", "check-chart")

SHIPPED_BESIDE_CODE = [
    "dicomnode/py.typed",
    "dicomnode/console/templates/",
    "dicomnode/database/migrations/env.py",
    "dicomnode/database/migrations/versions/",
    "dicomnode/model_repository/",
]


# --- lock files


def locked(name):
    """Distribution -> (version, hashes) of a lock file."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return {
        distribution: (version, re.findall(r"--hash=sha256:[0-9a-f]{64}\b", rest))
        for distribution, version, rest in re.findall(
            r"^([a-z0-9-]+)==(\S+)((?: \\\n +--hash=\S+)*)$", text, re.MULTILINE
        )
    }


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("demo.lock", RUN + BUILD),
        ("dev.lock", RUN + BUILD + DEV),
        ("run.lock", RUN + EXTRAS),
        ("image.lock", BUILD + GROUPS["image"]),
        ("chart.lock", GROUPS["chart"]),
        ("triton.lock", ["numpy>=1.26,<2", "SimpleITK>=2.4,<3"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_lock_file_holds_what_the_project_wants(name, wanted):
    lock = locked(name)

    wrong = [
        f"{requirement}: locked {lock.get(canonicalize_name(requirement.name))}"
        for requirement in map(Requirement, wanted)
        if canonicalize_name(requirement.name) not in lock
        or not requirement.specifier.contains(lock[canonicalize_name(requirement.name)][0])
    ]

    assert wrong == [], "run `make lock`"


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "requirements").iterdir()))
def test_every_line_of_a_lock_file_is_a_pin_with_hashes(name):
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]

    strange = [
        line
        for line in lines
        if not re.fullmatch(
            r"[a-z0-9-]+==[0-9][\w.+!]* \\| {4}--hash=sha256:[0-9a-f]{64}( \\)?", line
        )
    ]

    assert strange == [], "an option, an address or a path has come in"
    assert all(hashes for _, hashes in locked(name).values())


def test_development_is_with_the_versions_that_run():
    demo, dev = locked("demo.lock"), locked("dev.lock")

    assert {name: dev.get(name) for name in demo} == demo


@pytest.mark.parametrize("name", ["demo.lock", "run.lock", "triton.lock", "image.lock"])
def test_what_is_shipped_is_what_was_developed_with(name):
    dev = locked("dev.lock")

    assert {each: pin for each, pin in locked(name).items() if pin != dev.get(each, pin)} == {}


def test_every_requirement_has_a_lower_bound():
    unbound = [
        str(requirement)
        for requirement in map(
            Requirement, RUN + BUILD + DEV + EXTRAS + GROUPS["image"] + GROUPS["chart"]
        )
        if not any(each.operator in {">=", "=="} for each in requirement.specifier)
    ]

    assert unbound == []


def test_only_the_embedded_server_keeps_numpy_back():
    # A node beside a Triton of its own runs with numpy 2.
    (plain,) = (each for each in map(Requirement, RUN) if str(each) == "numpy>=1.26")

    assert plain.specifier.contains("1.26.4")
    assert plain.specifier.contains("2.3.0")


# --- what is shipped


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with the wheel and the sdist of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("dicomnode_ct-*-py3-none-any.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def sdist(built):
    (path,) = built.glob("dicomnode_ct-*.tar.gz")
    with tarfile.open(path) as archive:
        return [name.partition("/")[2] for name in archive.getnames()]


def test_the_wheel_holds_every_file_of_the_package(wheel):
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "dicomnode").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    shipped = {name for name in wheel if name.startswith("dicomnode/")}

    assert shipped == here


@pytest.mark.parametrize("start", SHIPPED_BESIDE_CODE)
def test_the_wheel_holds_what_is_no_module_too(wheel, start):
    assert [name for name in wheel if name.startswith(start)]


def test_the_wheel_holds_nothing_else(wheel):
    outside = {name.partition("/")[0] for name in wheel} - {"dicomnode"}

    assert outside == {f"dicomnode_ct-{dicomnode.__version__}.dist-info"}


def test_the_sdist_can_be_built_and_tested_from(sdist):
    assert {
        "Dockerfile",
        "LICENSE",
        "Makefile",
        "README.md",
        "pyproject.toml",
        "config/dicomnode.toml",
        "deploy/helm/dicomnode/Chart.yaml",
        "requirements/dev.lock",
        "tests/conftest.py",
        "tools/find-python",
    } <= set(sdist)


def test_the_sdist_is_clean(sdist):
    litter = [
        name
        for name in sdist
        if re.search(r"__pycache__|\.pyc$|\.venv|(^|/)\.[a-z_]*cache|demo-out|dicomnode-data", name)
    ]

    assert litter == []


# --- how it is built and tested


def make(*arguments):
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_make_alone_lists_the_targets():
    done = make()

    assert done.returncode == 0
    for target in ("demo", "test", "test-slow", "test-chaos", "lint", "lock", "audit", "clean"):
        assert re.search(rf"^  make {target} +\w", done.stdout, re.MULTILINE)


def test_ci_runs_what_a_contributor_runs():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]

    assert commands == [
        "set -euo pipefail",
        'cd "$(dirname "$0")/.."',
        "make lint",
        "make test || make test-failed",
        "make test-chaos",
        "make chart",
        "make test-image",
        "if [ -d ../shared/tools ]; then",
        "    .venv/bin/python tools/judge_monitoring.py ../shared/tools/prom_check.py",
        "fi",
    ]


@pytest.mark.parametrize("name", [".ci/run", *(f"tools/{each}" for each in SCRIPTS)])
def test_a_script_is_executable_and_sound(name):
    path = ROOT / name
    shell = path.read_text(encoding="utf-8").splitlines()[0].rpartition("/")[2].split()[-1]

    assert path.stat().st_mode & 0o111
    assert subprocess.run([shell, "-n", str(path)], check=False, timeout=10).returncode == 0


# --- tools


@pytest.fixture
def shim(tmp_path):
    """Make a program that stands for a Python and says what check_python.py would."""

    def make_shim(body):
        path = tmp_path / f"python-{len(list(tmp_path.iterdir()))}"
        path.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit 0\n{body}\n', encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    return make_shim


def find_python(candidates, **environment):
    return subprocess.run(
        [ROOT / "tools" / "find-python"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": candidates, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_python_that_fits_is_taken():
    done = find_python(sys.executable)

    assert (done.returncode, done.stdout.strip()) == (0, sys.executable)


def test_the_first_that_fits_is_taken(shim):
    unfit = shim("echo is too old; exit 1")

    done = find_python(f"/no/such/python {unfit} {sys.executable}")

    assert (done.returncode, done.stdout.strip()) == (0, sys.executable)


def test_where_none_fits_it_is_said_why_and_what_to_do(shim):
    unfit = shim("echo is Python 3.6; exit 1")

    done = find_python(f"/no/such/python {unfit}")

    assert (done.returncode, done.stdout) == (1, "")
    assert f"{unfit} is Python 3.6" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_where_there_is_no_python_at_all_that_is_said():
    done = find_python("/no/such/python")

    assert done.returncode == 1
    assert "/no/such/python: not there, or does not run" in done.stderr


def test_packages_are_not_installed_when_they_would_not_suffice(shim):
    unfit = shim('echo "is Python 3.6"; echo "has no venv"; echo "apt: python3.6-venv"; exit 1')

    done = find_python(unfit)

    assert done.returncode == 1
    assert "apt-get: " not in done.stderr


def test_nothing_is_installed_when_nothing_is_missing():
    done = subprocess.run(
        [ROOT / "tools" / "apt-install"], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_cannot_be_installed_is_named_with_the_command(tmp_path):
    # Neither root nor sudo: programs of the same names say so.
    for name, body in {
        "id": "echo 1000",
        "dpkg-query": "exit 1",
        "apt-get": "exit 1",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)

    done = subprocess.run(
        ["/bin/sh", ROOT / "tools" / "apt-install", "orthanc", "dcmtk"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "Needed and not installed: orthanc dcmtk" in done.stderr
    assert "You are not root and there is no sudo" in done.stderr
    assert "sudo apt-get install --no-install-recommends orthanc dcmtk" in done.stderr
