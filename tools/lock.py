"""Write the lock files: every distribution that is installed, with its version and hashes.

``requirements/demo.lock`` holds what running needs (with the extra ``embedded``) and what building
the package needs; ``requirements/dev.lock`` holds the same versions and the group ``dev``.
Of the container image, ``run.lock`` is what it holds, with every extra, and ``image.lock`` what
builds it; ``triton.lock`` is for the Python within NVIDIA's Triton image.  The tools that judge the
Helm chart are in ``chart.lock``.  All of them agree on every version.
They are made for Python 3.11 on Linux, the reference.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"
FIRST_LINE = "# Made by `make lock` for Python 3.11 on Linux; do not edit.\n"
REFERENCE = (3, 11)
PIN = r"^[a-z0-9.-]+==[^ \\]+"


def main() -> int:
    """Make both files and replace the old ones only when both are made."""
    if sys.version_info[:2] != REFERENCE:
        print("lock files are made with Python 3.11, the reference", file=sys.stderr)
        return 1
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        demo, dev, wanted = work / "demo.lock", work / "dev.lock", work / "dev.in"
        run, image, chart = work / "run.lock", work / "image.lock", work / "chart.lock"
        triton = work / "triton.lock"
        every = (demo, dev, run, image, chart, triton)
        for made in every:
            known = FOLDER / made.name
            # Versions stay as they are unless an upgrade is asked for.
            made.write_text(known.read_text(encoding="utf-8") if known.exists() else "")
        held = work / "held.txt"
        group = project["dependency-groups"]["dev"]
        wanted.write_text("\n".join(group))
        # The largest first: what its tools need of others binds what runs, too.
        compile_lock(dev, "pyproject.toml", "--all-extras", str(wanted))
        held.write_text("\n".join(pins(dev)))
        package = ("pyproject.toml", "--extra", "embedded", "--constraint", str(held))
        compile_lock(demo, *package, "--build-deps-for", "wheel", "--build-deps-for", "editable")
        wanted.write_text("\n".join([*pins(demo), *group]))
        compile_lock(dev, "pyproject.toml", "--all-extras", str(wanted))
        held.write_text("\n".join(pins(dev)))
        compile_lock(run, "pyproject.toml", "--all-extras", "--constraint", str(held))
        for made in (image, chart):
            wanted = made.with_suffix(".in")
            wanted.write_text("\n".join(project["dependency-groups"][made.stem]))
            compile_lock(made, str(wanted), "--constraint", str(held))
        models = str(ROOT / "deploy" / "triton" / "requirements.txt")
        compile_lock(triton, models, "--constraint", str(held))
        FOLDER.mkdir(exist_ok=True)
        for made in every:
            (FOLDER / made.name).write_text(FIRST_LINE + made.read_text(encoding="utf-8"))
    return 0


def pins(lock: Path) -> list[str]:
    """Read which version of what a lock file holds."""
    return re.findall(PIN, lock.read_text(encoding="utf-8"), re.MULTILINE)


def compile_lock(output: Path, *wanted: str) -> None:
    """Resolve what is wanted into `output`."""
    environment = {
        name: value
        for name, value in os.environ.items()
        # Packages that only this machine has must not get in.
        if name not in {"PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"}
    }
    environment["PIP_CONFIG_FILE"] = os.devnull
    command = [sys.executable, "-m", "piptools", "compile", *wanted]
    command += ["--generate-hashes", "--allow-unsafe", "--strip-extras"]
    command += ["--no-config", "--no-header", "--no-annotate"]
    command += ["--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links"]
    command += ["--quiet", "--output-file", str(output), *sys.argv[1:]]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main())
