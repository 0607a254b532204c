"""``dicomnode echo``: asks an application entity whether it is there (C-ECHO)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicomnode.cli.output import JsonOption, errors_as_exits, facts, print_json
from dicomnode.cli.send import AddressArgument, CallingOption
from dicomnode.config import TlsClientConfig
from dicomnode.send.store_scu import echo as verify


def echo(
    address: AddressArgument,
    calling_ae_title: CallingOption = "DICOMNODE",
    timeout_seconds: Annotated[
        float, typer.Option("--timeout", min=0.1, help="For each step, in seconds.")
    ] = 10.0,
    authorities: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TLS: CA certificates that it must come from, PEM."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TLS: ours, where it asks for one, PEM.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: the key to it.")] = None,
    *,
    check_host: Annotated[
        bool, typer.Option(help="TLS: its certificate must name the host that is called.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Verify that an application entity answers (C-ECHO)."""
    if authorities is None and (certificate or key):
        raise typer.BadParameter("--certificate and --key are for TLS: wanted --authorities too")
    if (certificate is None) != (key is None):
        raise typer.BadParameter("wanted --certificate and --key together")
    with errors_as_exits():
        seconds = verify(
            address,
            calling_ae_title=calling_ae_title,
            timeout_seconds=timeout_seconds,
            tls=None
            if authorities is None
            else TlsClientConfig(
                authentication="server" if certificate is None else "mutual",
                authorities=authorities,
                certificate=certificate,
                key=key,
                check_host=check_host,
            ),
        )
    if as_json:
        print_json({"address": str(address), "seconds": round(seconds, 4)})
    else:
        facts.print(f"{address} answered in {1000 * seconds:.0f} ms", markup=False)
