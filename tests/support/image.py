"""The container image, run as a container engine would run it, but without one.

A container has a root file system that cannot be written to, ``/tmp`` and ``/dev/shm`` of its own,
process ids of its own, the image's user with no capabilities, and this machine's network.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "image"
BUILD_SECONDS = 1200.0

_ENTER = """
set -eu
root=$1 data=$2 user=$3 shm=$4; shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount --bind "$data" "$root/var/lib/dicomnode"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for each in null zero random urandom; do
    : > "$root/dev/$each"
    mount --bind "/dev/$each" "$root/dev/$each"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777,size="$shm" tmpfs "$root/dev/shm"
mount -o remount,ro,bind "$root"
cd "$root"
exec chroot "$root" /usr/bin/setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups \
    --no-new-privs --bounding-set=-all --inh-caps=-all --pdeathsig KILL -- "$@"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """An image, unpacked: the root folder of a container of it, and what it says of itself."""

    container: str
    root: Path
    config: Mapping[str, Any]

    @classmethod
    def unpack(cls) -> Self:
        """Build it if need be, and unpack it.

        Raises
        ------
        subprocess.CalledProcessError
            If it cannot be built; its output is printed.
        """
        if not os.environ.get("IMAGE_IS_BUILT"):
            subprocess.run([TOOL, "build"], check=True, timeout=BUILD_SECONDS)
        printed = subprocess.run(
            [TOOL, "mount"], check=True, timeout=120, capture_output=True, text=True
        ).stdout
        container, root, described = printed.split("\n", 2)
        return cls(container, Path(root), json.loads(described)["Docker"]["config"])

    def remove(self) -> None:
        """Remove the container; the image stays."""
        subprocess.run([TOOL, "unmount", self.container], check=True, timeout=120)

    def start(
        self,
        *arguments: str,
        data: Path,
        entrypoint: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        shm: str = "2g",
    ) -> subprocess.Popen[str]:
        """Start a container: the image's entry point with `arguments`, or what it does of itself.

        Parameters
        ----------
        data : Path
            Mounted as the data folder.
        entrypoint : sequence of str, optional
            In the place of the image's.
        environment : mapping, optional
            Beside the image's.
        shm : str
            Size of shared memory.
        """
        program = self.config["Entrypoint"] if entrypoint is None else entrypoint
        if entrypoint is None and not arguments:
            arguments = tuple(self.config["Cmd"])
        variables = dict(each.split("=", 1) for each in self.config["Env"])
        variables |= environment or {}
        return subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _ENTER),
                *("sh", str(self.root), str(data), self.config["User"], shm),
                *("/usr/bin/env", "-i", "-C", self.config["WorkingDir"]),
                *(f"{name}={value}" for name, value in variables.items()),
                *program,
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, seconds: float = 60.0, **more: Any) -> tuple[int, str, str]:
        """Run a container to its end; return exit status, standard output and error."""
        with self.start(*arguments, **more) as process:
            out, err = process.communicate(timeout=seconds)
            return process.returncode, out, err


def first_process(container: subprocess.Popen[str]) -> int:
    """Return the id, out here, of a container's first process: whom an engine signals."""
    children = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text()
    (child,) = children.split()
    return int(child)


def can_build() -> str | None:
    """Return None if images can be built and run on this machine, else why not."""
    if os.geteuid() != 0:
        return "building and running an image without an engine needs root"
    probe = ["unshare", "--mount", "--pid", "--fork", "mount", "--make-rprivate", "/"]
    if subprocess.run(probe, check=False, capture_output=True).returncode != 0:
        return "this machine lets nobody have mounts of their own"
    return None
