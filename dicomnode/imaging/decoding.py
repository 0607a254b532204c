"""Decoding compressed pixels in processes of their own, on all cores.

Native decoders meet bytes from anywhere: one that crashes, hangs or eats memory costs its slice,
never the node.  A worker is this module, run as a program; it is told slices over a pipe and writes
Hounsfield units into a file that both map.  Workers stay for the next series.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
import mmap
import os
import pickle
import queue
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import PixelsUnreadable
from dicomnode.imaging.pixels import read_hu
from dicomnode.imaging.slices import Slice

MAX_WORKERS: Final = 16
SLICE_SECONDS: Final = 60.0
"""A decoder that takes longer hangs; the first slice also waits for the worker to start."""

WORKER_BYTES: Final = 4 * 1024**3
"""Address space of a worker: a bomb ends as a refusal."""

_FOLDERS: Final = ("/dev/shm",)  # noqa: S108 - memory, where there is any; else the temporary folder


class _Worker:
    """One process and the lines to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this very module
            [sys.executable, "-m", "dicomnode.imaging.decoding", str(WORKER_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # A Ctrl-C is for the node: it ends its workers itself.
            start_new_session=True,
        )
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: PT018, S101 - PIPE made them
        self._stdin: IO[str] = stdin
        self._stdout: IO[str] = stdout

    def decode(self, image: Slice, path: Path, offset: int) -> str | None:
        """Have a slice decoded; return what is wrong with it, if anything is."""
        job = base64.b64encode(pickle.dumps((image, str(path), offset))).decode("ascii")
        timer = threading.Timer(SLICE_SECONDS, self._process.kill)
        timer.start()
        try:
            self._stdin.write(job + "\n")
            self._stdin.flush()
            answer: list[str | None] = json.loads(self._stdout.readline() or "broken")
            return answer[0]
        except (OSError, ValueError):
            status = self.close()
            return (
                f"{image.label}: the decoder of transfer syntax {image.transfer_syntax_uid} "
                f"ended with status {status}"
            )
        finally:
            timer.cancel()

    @property
    def is_alive(self) -> bool:
        """Whether it can be given a slice."""
        return self._process.poll() is None

    def close(self) -> int:
        """End the process; return its exit status."""
        self._process.kill()
        for pipe in (self._stdin, self._stdout):
            # What was still to be written has no reader any more.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        return self._process.wait()


_idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()


def decode_all(images: Sequence[Slice], out_hu: Sequence[NDArray[np.int16]]) -> list[str | None]:
    """Decode slices of one matrix to Hounsfield units.

    Parameters
    ----------
    images : sequence of Slice
    out_hu : sequence of numpy.ndarray, shape (rows, columns), dtype int16
        One a slice, filled.

    Returns
    -------
    list of (str or None)
        What is wrong with each slice, in words; None where nothing is.
    """
    workers = min(MAX_WORKERS, os.cpu_count() or 1, len(images))
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        # Each thread has one frame's room in a file that its worker maps, too.
        shares = [images[number::workers] for number in range(workers)]
        outs = [out_hu[number::workers] for number in range(workers)]
        told = list(pool.map(_decode_share, shares, outs))
    found: list[str | None] = [None] * len(images)
    for number, answers in enumerate(told):
        found[number::workers] = answers
    return found


def close_workers() -> None:
    """End the workers that wait for the next series."""
    while True:
        try:
            _idle.get_nowait().close()
        except queue.Empty:
            return


atexit.register(close_workers)


def _decode_share(images: Sequence[Slice], out_hu: Sequence[NDArray[np.int16]]) -> list[str | None]:
    """Decode some slices with one worker, or one after the other where they die."""
    folder = next((each for each in _FOLDERS if os.access(each, os.W_OK)), None)
    answers: list[str | None] = []
    worker: _Worker | None = None
    with tempfile.NamedTemporaryFile(prefix="dicomnode-", dir=folder) as file:
        file.truncate(max(out.nbytes for out in out_hu))
        with mmap.mmap(file.fileno(), 0) as room:
            for image, out in zip(images, out_hu, strict=True):
                if worker is None or not worker.is_alive:
                    worker = _take()
                fault = worker.decode(image, Path(file.name), 0)
                if fault is None:
                    found = np.frombuffer(room, np.int16, out.size).reshape(out.shape)
                    np.copyto(out, found)
                    del found  # a view would keep the map open
                answers.append(fault)
    if worker is not None and worker.is_alive:
        _idle.put(worker)
    return answers


def _take() -> _Worker:
    """Return a worker that waits, or a new one."""
    while True:
        try:
            worker = _idle.get_nowait()
        except queue.Empty:
            return _Worker()
        if worker.is_alive:
            return worker
        worker.close()


# -- within the worker


def _serve(lines: TextIO, answers: TextIO) -> None:
    """Decode what each line asks for until there are no more."""
    for line in lines:
        # Written by the process that started this one, over a pipe that nobody else has.
        image, path, offset = pickle.loads(base64.b64decode(line))  # noqa: S301
        fault: str | None = None
        try:
            _decode_into(image, Path(path), offset)
        except PixelsUnreadable as error:
            fault = str(error)
        except (MemoryError, OSError) as error:
            fault = f"{image.label}: pixels cannot be decoded: {type(error).__name__}"
        answers.write(json.dumps([fault]) + "\n")
        answers.flush()


def _decode_into(image: Slice, path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        # Unmapped with the last view of it: a traceback may hold one still.
        room = mmap.mmap(file.fileno(), 0)
    out = np.frombuffer(room, np.int16, image.rows * image.columns, offset)
    read_hu(image, out.reshape(image.rows, image.columns))


def _main(most_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Whatever a library prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    _serve(sys.stdin, answers)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
