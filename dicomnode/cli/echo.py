"""``dicomnode echo``: asks an application entity whether it is there (C-ECHO)."""

from __future__ import annotations

from typing import Annotated

import typer

from dicomnode.cli.output import JsonOption, errors_as_exits, facts, print_json
from dicomnode.cli.send import AddressArgument, CallingOption
from dicomnode.cli.tls_options import (
    CaOption,
    CertOption,
    CheckHostOption,
    KeyOption,
    KeyPassphraseOption,
    ProfileOption,
    tls_section,
)
from dicomnode.send.store_scu import echo as verify


def echo(
    address: AddressArgument,
    calling_ae_title: CallingOption = "DICOMNODE",
    timeout_seconds: Annotated[
        float, typer.Option("--timeout", min=0.1, help="For each step, in seconds.")
    ] = 10.0,
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
    tls_profile: ProfileOption = None,
    *,
    check_host: CheckHostOption = True,
    as_json: JsonOption = False,
) -> None:
    """Verify that an application entity answers (C-ECHO)."""
    tls = tls_section(
        ca=ca,
        cert=cert,
        key=key,
        key_passphrase_file=key_passphrase_file,
        profile=tls_profile,
        check_host=check_host,
    )
    with errors_as_exits():
        seconds = verify(
            address, calling_ae_title=calling_ae_title, timeout_seconds=timeout_seconds, tls=tls
        )
    if as_json:
        print_json({"address": str(address), "seconds": round(seconds, 4)})
    else:
        facts.print(f"{address} answered in {1000 * seconds:.0f} ms", markup=False)
