"""Time from the last acknowledged instance to SEG and SR stored at the destination.

    python benchmarks/pipeline/run.py
    python benchmarks/pipeline/run.py --slices 300 --series 1 --workers 1 --repeats 7

Each run has a fresh node in processes of its own (a receiver and workers) on one Triton with the
reference models, and an archive that keeps what it is sent.  The series are synthetic chest CT of
512 x 512, each with its own UIDs.  A short series for each worker goes through before the clock
starts, unless ``--first`` asks for the first after a start.  Rows are run in turn, all of them as
often as asked; of a row that would send more than ``--most-instances`` none is made.  A run fails
that loses a series or has results of one twice.  Prints a table in Markdown, and removes what it
wrote.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from measuring import RESULT_STAGES, Run, measure
from processes import with_descendants

from dicomnode import log
from dicomnode.demo.phantom import chest_ct, write_series
from dicomnode.demo.series import write_ct_series
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.manifest import SHIPPED_MODELS

LENGTH_MM = 320.0
IN_PLANE_MM = 0.7
COLUMNS = (
    "slices",
    "series",
    "workers",
    "last s",
    "all s",
    "assemble",
    "models",
    "results",
    "deliver",
    "node's own s",
    "computing s",
    "all / computing alone",
    "a worker's MiB",
    "Triton's MiB",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--series", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--most-instances", type=int, default=4800)
    parser.add_argument("--first", action="store_true", help="the first series after a start")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    asked = parser.parse_args()
    log.configure(form="json", level="error")
    # Ended from outside, it still stops what it started and removes what it wrote.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"load average at the start: {os.getloadavg()[0]:.1f}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    with ExitStack() as stack:
        root = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="bench-pipeline-", dir=asked.folder)
            )
        )
        server = EmbeddedTriton(
            repositories=[SHIPPED_MODELS], run_dir=root / "triton", startup_seconds=120
        )
        stack.enter_context(server)
        triton_pids = with_descendants([os.getpid()]) - {os.getpid()}
        short = [
            list(write_series(root / f"short-{n}", slices=40, uid_seed=1000 + n))
            for n in range(0 if asked.first else max(asked.workers))
        ]
        for slices in asked.slices:
            counts = [each for each in asked.series if each * slices <= asked.most_instances]
            if not counts:
                continue
            made = _make(root / f"ct-{slices}", slices, max(counts))
            rows = [(count, workers) for count in counts for workers in asked.workers]
            runs: dict[tuple[int, int], list[Run]] = {row: [] for row in rows}
            for _ in range(asked.repeats):
                for count, workers in rows:
                    with tempfile.TemporaryDirectory(dir=root) as folder:
                        runs[count, workers].append(
                            measure(
                                made[:count],
                                warm=short[:workers],
                                workers=workers,
                                triton=server.address,
                                triton_pids=triton_pids,
                                folder=Path(folder),
                            )
                        )
            alone = _alone(runs)
            for (count, workers), found in runs.items():
                print(_row(slices, count, workers, found, alone), flush=True)
            shutil.rmtree(root / f"ct-{slices}")
    print(f"\nload average at the end: {os.getloadavg()[0]:.1f}")


def _make(folder: Path, slices: int, count: int) -> list[list[Path]]:
    """Write series of the same voxels, each under its own UIDs."""
    spacing = (LENGTH_MM / slices, IN_PLANE_MM, IN_PLANE_MM)
    hu, _truth = chest_ct(slices=slices, spacing_kji_mm=spacing)
    origin = -511 / 2 * IN_PLANE_MM
    return [
        write_ct_series(
            folder / str(number),
            hu,
            spacing_kji_mm=spacing,
            origin_lps=(origin, origin, 0.0),
            seed=number,
        )
        for number in range(count)
    ]


def _alone(runs: dict[tuple[int, int], list[Run]]) -> float | None:
    """Return the processor time of a series alone on one worker, if that was run."""
    found = next((made for (count, _), made in sorted(runs.items()) if count == 1), None)
    return None if found is None else statistics.median(run.computing_seconds for run in found)


def _row(slices: int, count: int, workers: int, runs: list[Run], alone: float | None) -> str:
    ratio = [] if alone is None else [run.all_seconds / (count * alone) for run in runs]
    cells = (
        str(slices),
        str(count),
        str(workers),
        _spread([run.last_seconds for run in runs]),
        _spread([run.all_seconds for run in runs]),
        _median([run.mean("select", "assemble") for run in runs]),
        _spread([run.models_seconds for run in runs]),
        _median([run.mean(*RESULT_STAGES) for run in runs]),
        _median([run.mean("deliver archive") for run in runs]),
        # Series that run at once wait for each other: what is left then is not the node's own.
        _spread([run.own_seconds for run in runs]) if count == 1 else "",
        _spread([run.computing_seconds for run in runs]),
        _median(ratio) if ratio else "",
        str(max(run.worker_mib for run in runs)),
        str(max(run.triton_mib for run in runs)),
    )
    return f"| {' | '.join(cells)} |"


def _median(values: list[float]) -> str:
    return f"{statistics.median(values):.2f}"


def _spread(values: list[float]) -> str:
    """Median, and least to most where there are several."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
