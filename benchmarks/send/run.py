"""How fast a large SEG is sent: our Storage SCU against DCMTK's storescu, to the same storescp.

    python benchmarks/send/run.py --mib 30 --rounds 9

Both send the same Part 10 file over an association of their own, in turn, so that both see the same
machine.  Ours is timed as a call within a process, as a worker makes it; storescu as a whole
process, less what a storescu takes that sends a file of a few bytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid

from dicomnode import log
from dicomnode.errors import SendError
from dicomnode.send.store_scu import echo, send_instances
from dicomnode.standard.ae import AEAddress


def program(name: str) -> str:
    # pynetdicom has commands of the same names.
    found = shutil.which(name, path=os.defpath)
    if found is None:
        raise SystemExit(f"{name} of DCMTK is not installed")
    return found


def write_seg(path: Path, size_bytes: int) -> Path:
    """Write a binary SEG of so many bytes; its frames are noise, its functional groups absent."""
    ds = Dataset()
    ds.SOPClassUID = SegmentationStorage
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID = generate_uid()
    ds.SeriesInstanceUID = generate_uid()
    ds.Modality = "SEG"
    ds.Rows, ds.Columns = 512, 512
    ds.NumberOfFrames = max(1, size_bytes * 8 // (512 * 512))
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = ds.PixelRepresentation = 0
    ds.PixelData = np.random.default_rng(1).bytes(size_bytes // 2 * 2)
    ds["PixelData"].VR = "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    return path


def wait_for(to: AEAddress) -> None:
    pause = threading.Event()
    for _ in range(100):
        try:
            echo(to, calling_ae_title="BENCH", timeout_seconds=5)
        except SendError:
            pause.wait(0.1)
        else:
            return
    raise SystemExit("storescp did not come up")


def time_dcmtk(path: Path, to: AEAddress) -> float:
    begin = time.perf_counter()
    # -R: propose only what is sent.
    subprocess.run([program("storescu"), "-R", "127.0.0.1", str(to.port), str(path)], check=True)
    return time.perf_counter() - begin


def time_ours(path: Path, to: AEAddress) -> float:
    begin = time.perf_counter()
    (outcome,) = send_instances([path], to=to, calling_ae_title="BENCH", timeout_seconds=60)
    took = time.perf_counter() - begin
    if not outcome.accepted:
        raise SystemExit(f"storescp refused: {outcome.words}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    log.configure(form="json", level="error")
    with tempfile.TemporaryDirectory(prefix="bench-send-") as scratch:
        folder = Path(scratch)
        large = write_seg(folder / "large.dcm", int(asked.mib * 1024**2))
        small = write_seg(folder / "small.dcm", 32)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # Promiscuous and writing nothing: what is measured is the sender.
        peer = subprocess.Popen([program("storescp"), "--ignore", "--promiscuous", str(port)])
        try:
            to = AEAddress("ANY-SCP", "127.0.0.1", port)
            wait_for(to)
            rows = [
                (time_dcmtk(large, to), time_dcmtk(small, to), time_ours(large, to))
                for _ in range(asked.rounds)
            ]
        finally:
            peer.terminate()
            peer.wait(10)
    whole, start, ours = (statistics.median(column) for column in zip(*rows, strict=True))
    print("| MiB | storescu, process s | storescu, sending s | ours s | ours / storescu's rate |")
    print("|---|---|---|---|---|")
    print(
        f"| {asked.mib:g} | {whole:.3f} | {whole - start:.3f} | {ours:.3f} "
        f"| {(whole - start) / ours:.2f} of the sending, {whole / ours:.2f} of the process |"
    )


if __name__ == "__main__":
    main()
