"""The lung segmentation of 300 x 512 x 512 inside Triton: seconds and memory, by either way there.

Prints a Markdown table for docs/models.md.  Run as ``python benchmarks/lung_segmentation.py``.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dicomnode.demo.phantom import chest_ct
from dicomnode.inference.client import TritonClient
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.manifest import SHIPPED_MODELS, find_manifests
from dicomnode.inference.processes import descendants

_MANIFEST = find_manifests([SHIPPED_MODELS])["lung"]
_SPACING_KJI_MM = np.array([1.2, 0.7, 0.72], np.float32)
_REPEATS = 5


def main() -> None:
    """Print the table."""
    hu, _truth = chest_ct(
        slices=300, rows=512, columns=512, spacing_kji_mm=_SPACING_KJI_MM.tolist()
    )
    with (
        TemporaryDirectory() as scratch,
        EmbeddedTriton(
            repositories=[SHIPPED_MODELS], run_dir=Path(scratch), startup_seconds=120
        ) as server,
    ):
        process = _process_of("lung_segmentation")
        print(
            "| tensors by | first s | then s | CPU s of the model | peak MB of its process | load |"
        )
        print("| --- | --- | --- | --- | --- | --- |")
        for shared, name in ((True, "shared memory"), (False, "messages")):
            seconds, cpu = [], []
            with TritonClient(server.address, timeout_seconds=300, shared_memory=shared) as client:
                for _ in range(_REPEATS):
                    began, used = time.perf_counter(), _cpu_seconds(process)
                    client.infer(
                        _MANIFEST,
                        {"VOLUME_HU": hu, "SPACING_MM": _SPACING_KJI_MM},
                        {"LABELS": (np.uint8, hu.shape)},
                    )
                    seconds.append(time.perf_counter() - began)
                    cpu.append(_cpu_seconds(process) - used)
            print(
                f"| {name} | {seconds[0]:.1f} | {np.median(seconds[1:]):.1f} "
                f"| {np.median(cpu[1:]):.1f} | {_peak_mb(process)} | {os.getloadavg()[0]:.1f} |",
                flush=True,
            )


def _process_of(model: str) -> int:
    for each in descendants(os.getpid()):
        command = Path(f"/proc/{each.pid}/cmdline").read_bytes()
        if f"/{model}/".encode() in command and b"stub" in command:
            return each.pid
    raise LookupError(f"no process computes {model}")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> int:
    """Return VmHWM, which counts what is shared with the server as well."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (found,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return found * 1024 // 1_000_000


if __name__ == "__main__":
    main()
