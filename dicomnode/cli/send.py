"""``dicomnode send``: a storage SCU with progress and an outcome for each instance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dicomnode.cli.output import Exit, JsonOption, errors_as_exits, facts, print_json, talk
from dicomnode.cli.tls_options import (
    CaOption,
    CertOption,
    CheckHostOption,
    KeyOption,
    KeyPassphraseOption,
    ProfileOption,
    tls_section,
)
from dicomnode.errors import InstanceUnreadable
from dicomnode.imaging.files import walk_files
from dicomnode.send.outcome import StoreOutcome
from dicomnode.send.store_scu import send_instances
from dicomnode.spool.part10 import read_file_meta
from dicomnode.standard.ae import AEAddress, check_ae_title


def _parse_address(text: str) -> AEAddress:
    try:
        return AEAddress.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _parse_title(text: str) -> str:
    try:
        return check_ae_title(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


AddressArgument = Annotated[
    AEAddress,
    typer.Argument(metavar="AET@HOST:PORT", parser=_parse_address, help="Whom to ask."),
]
CallingOption = Annotated[
    str, typer.Option("--from", metavar="AET", parser=_parse_title, help="Our AE title.")
]


def send(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", exists=True, help="Files or folders.")
    ],
    to: Annotated[
        AEAddress,
        typer.Option("--to", metavar="AET@HOST:PORT", parser=_parse_address, help="Where to."),
    ],
    calling_ae_title: CallingOption = "DICOMNODE",
    timeout_seconds: Annotated[
        float, typer.Option("--timeout", min=0.1, help="For each step, in seconds.")
    ] = 30.0,
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
    tls_profile: ProfileOption = None,
    *,
    check_host: CheckHostOption = True,
    as_json: JsonOption = False,
) -> None:
    """Send DICOM files to an application entity (C-STORE)."""
    tls = tls_section(
        ca=ca,
        cert=cert,
        key=key,
        key_passphrase_file=key_passphrase_file,
        profile=tls_profile,
        check_host=check_host,
    )
    with errors_as_exits():
        instances = _find_instances(paths)
        if not instances:
            talk.print("nothing to send: no DICOM instance was found", markup=False)
            raise typer.Exit(Exit.FAILED)
        columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=talk) as progress:
            task = progress.add_task("sending", total=len(instances))

            def advance(_outcome: StoreOutcome) -> None:
                progress.advance(task)

            outcomes = send_instances(
                instances,
                to=to,
                calling_ae_title=calling_ae_title,
                timeout_seconds=timeout_seconds,
                tls=tls,
                on_sent=advance,
            )
    refused = [each for each in outcomes if not each.accepted]
    if as_json:
        print_json(
            [
                {
                    "path": each.path,
                    "sop_instance_uid": each.sop_instance_uid,
                    "status": each.status,
                    "words": each.words,
                    "accepted": each.accepted,
                }
                for each in outcomes
            ]
        )
    else:
        for each in refused:
            facts.print(f"{each.path}: {each.words}", markup=False, soft_wrap=True)
        facts.print(f"{len(outcomes) - len(refused)} of {len(outcomes)} accepted by {to}")
    if refused:
        raise typer.Exit(Exit.FAILED)


def _find_instances(paths: list[Path]) -> list[Path]:
    """Return the DICOM files among files and folders; name the others."""
    instances: list[Path] = []
    for path in walk_files(paths):
        try:
            with path.open("rb") as file:
                read_file_meta(file)
        except (OSError, InstanceUnreadable) as error:
            talk.print(f"left out {path}: {error}", markup=False, soft_wrap=True)
        else:
            instances.append(path)
    return instances
