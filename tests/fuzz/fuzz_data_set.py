"""Coverage-guided fuzzing of what reads a received data set: python tests/fuzz/fuzz_data_set.py

Options are libFuzzer's (``-max_total_time=600``, ``-runs=100000``); folders are corpora, the first
one grows.  Needs atheris.  Anything but an identity or a named refusal is a crash.
"""

import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dicomnode", "pydicom.filereader", "pydicom.filebase"]):
    from dicomnode.errors import InstanceUnreadable
    from dicomnode.spool.part10 import read_file_meta, read_identity

from io import BytesIO

from dicomnode.standard.sop_classes import CT_TRANSFER_SYNTAXES

CORPUS = Path(__file__).resolve().parents[1] / "data" / "fuzz"

counts = {"inputs": 0, "identified": 0, "refused": 0}


def one_input(content: bytes) -> None:
    """Read an input as a data set, its first byte choosing the transfer syntax, and as a file."""
    counts["inputs"] += 1
    if not content:
        return
    syntax = CT_TRANSFER_SYNTAXES[content[0] % len(CT_TRANSFER_SYNTAXES)]
    for read in (
        lambda: read_identity(content[1:], syntax),
        lambda: read_file_meta(BytesIO(bytes(128) + b"DICM" + content[1:])),
    ):
        try:
            read()
            counts["identified"] += 1
        except InstanceUnreadable:
            counts["refused"] += 1


def main() -> None:
    warnings.simplefilter("ignore")  # pydicom tells what it thinks of each value
    folders = [each for each in sys.argv[1:] if not each.startswith("-")]
    arguments = sys.argv if folders else [*sys.argv, str(CORPUS)]
    atheris.Setup(arguments, one_input)
    try:
        atheris.Fuzz()
    finally:
        print(counts)  # noqa: T201 - what the run was for


if __name__ == "__main__":
    main()
