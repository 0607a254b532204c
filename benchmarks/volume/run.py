"""How fast and with how much memory a series becomes a volume: dicomnode against its peers.

    python benchmarks/volume/run.py [--slices 300] [--repeats 5]

Each method runs in a process of its own, in turn, so that all see the same machine; the time is
taken within the process, after imports, and the files lie in the page cache.  Memory is the peak
above that of the process with everything imported.  Prints a table in Markdown.
"""
# ruff: noqa: PLC0415 - each method imports its own library only, in a process of its own

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def _dicomnode(paths):
    from dicomnode.imaging.volume import read_series

    def run():
        return read_series(paths).volume.voxels_hu.shape

    return run


def _dicomnode_again(paths):
    run = _dicomnode(paths)
    run()
    return run


def _simpleitk(paths):
    import SimpleITK

    def run():
        reader = SimpleITK.ImageSeriesReader()
        names = reader.GetGDCMSeriesFileNames(str(paths[0].parent))
        reader.SetFileNames(names)
        return SimpleITK.GetArrayViewFromImage(reader.Execute()).shape

    return run


def _pydicom(paths):
    import pydicom

    def run():
        slices = [pydicom.dcmread(path) for path in paths]
        slices.sort(key=lambda ds: ds.ImagePositionPatient[2])
        stack = np.stack([ds.pixel_array for ds in slices])
        stack += np.int16(slices[0].RescaleIntercept)
        return stack.shape

    return run


def _highdicom(paths):
    import pydicom
    from highdicom import get_volume_from_series

    def run():
        return get_volume_from_series([pydicom.dcmread(path) for path in paths]).array.shape

    return run


def _limit(paths):
    from dicomnode.imaging.slices import read_slice

    first = read_slice(paths[0])

    def run():
        # All files of this series have their pixels at one place.
        volume = np.empty((len(paths), first.rows, first.columns), np.int16)
        for path, plane in zip(paths, volume, strict=True):
            with path.open("rb", buffering=0) as file:
                file.seek(first.pixels_offset)
                file.readinto(plane.data.cast("B"))
        return volume.shape

    return run


METHODS = {
    "limit: readinto of all pixel bytes": _limit,
    "**dicomnode**, all checks": _dicomnode,
    "**dicomnode**, the second series": _dicomnode_again,
    "pydicom + numpy": _pydicom,
    "SimpleITK series reader": _simpleitk,
    "highdicom": _highdicom,
}


def _memory_kib(name):
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{name}:\s+(\d+)", status).group(1))


def _measure(method, folder):
    """Run one method in this process; print seconds and peak memory."""
    paths = sorted(folder.iterdir())
    run = METHODS[method](paths)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    before = _memory_kib("VmRSS")
    begin = time.perf_counter()
    shape = run()
    seconds = time.perf_counter() - begin
    peak = _memory_kib("VmHWM") - before
    print(json.dumps({"seconds": seconds, "mib": peak / 1024, "shape": shape}))


def _in_a_process(method, folder):
    command = [sys.executable, __file__, "--measure", method, "--folder", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _dcm2niix(folder):
    """Return the seconds that dcm2niix itself says it took, and those "for core code".

    The former are the clock's on the wall, the latter are the processor's.
    """
    tool = shutil.which("dcm2niix", path=os.defpath)
    with tempfile.TemporaryDirectory() as out:
        command = [tool, "-z", "n", "-f", "v", "-o", out, str(folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        return float("nan"), float("nan")  # it was built without that decoder
    said = re.search(r"required ([\d.]+) seconds \(([\d.]+) for core code\)", done.stdout)
    return float(said.group(1)), float(said.group(2))


def _make(folder, slices, syntax):
    from tests.support.ct import make_series

    rng = np.random.default_rng(4)
    j, i = np.indices((512, 512))
    disk = np.where((j - 256) ** 2 + (i - 250) ** 2 < 200**2, 40, -1000)
    hu = np.empty((slices, 512, 512), np.int16)
    for plane in hu:
        plane[:] = disk + rng.normal(0, 12, disk.shape)
    make_series(folder, hu=hu, spacing_kji_mm=(1.0, 0.7, 0.7), transfer_syntax=syntax)


def _table(folder, repeats, volume_mib, methods):
    found = {method: [] for method in methods}
    niix = []
    for _ in range(repeats):
        for method in methods:
            found[method].append(_in_a_process(method, folder))
        niix.append(_dcm2niix(folder))
    rows = [
        (
            method,
            statistics.median(each["seconds"] for each in measured),
            min(each["seconds"] for each in measured),
            statistics.median(each["mib"] for each in measured),
        )
        for method, measured in found.items()
    ]
    for name, seconds in zip(("in all", "core code"), zip(*niix, strict=True), strict=True):
        row = (f"dcm2niix's own timing, {name}", statistics.median(seconds), min(seconds))
        rows.append((*row, float("nan")))
    print("| method | median s | best s | peak MiB | x volume |\n|---|---|---|---|---|")
    for name, median, best, mib in sorted(rows, key=lambda row: row[1]):
        memory = "" if np.isnan(mib) else f"{mib:.0f} | {mib / volume_mib:.2f}"
        print(f"| {name} | {median:.3f} | {best:.3f} | {memory or ' | '} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--syntax", default="1.2.840.10008.1.2.1", help="transfer syntax UID")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        _measure(given.measure, given.folder)
        return
    is_plain = given.syntax == "1.2.840.10008.1.2.1"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "ct"
        _make(folder, given.slices, given.syntax)
        methods = [each for each in METHODS if is_plain or not each.startswith("limit")]
        _table(folder, given.repeats, given.slices * 0.5, methods)


if __name__ == "__main__":
    main()
