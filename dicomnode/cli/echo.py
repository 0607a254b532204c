"""``dicomnode echo``: asks an application entity whether it is there (C-ECHO)."""

from __future__ import annotations

from typing import Annotated

import typer

from dicomnode.cli.output import JsonOption, errors_as_exits, facts, print_json
from dicomnode.cli.send import AddressArgument, CallingOption
from dicomnode.send.store_scu import echo as verify


def echo(
    address: AddressArgument,
    calling_ae_title: CallingOption = "DICOMNODE",
    timeout_seconds: Annotated[
        float, typer.Option("--timeout", min=0.1, help="For each step, in seconds.")
    ] = 10.0,
    *,
    as_json: JsonOption = False,
) -> None:
    """Verify that an application entity answers (C-ECHO)."""
    with errors_as_exits():
        seconds = verify(
            address, calling_ae_title=calling_ae_title, timeout_seconds=timeout_seconds
        )
    if as_json:
        print_json({"address": str(address), "seconds": round(seconds, 4)})
    else:
        facts.print(f"{address} answered in {1000 * seconds:.0f} ms", markup=False)
