"""Options of commands that open associations themselves: TLS.  A node's own is configured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicomnode.config import TlsClientConfig, TlsProfile

_PANEL = "TLS (given --ca; plain without)"

CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        help="PEM file with the CA certificates that the peer must come from.",
        rich_help_panel=_PANEL,
    ),
]
CertOption = Annotated[
    Path | None,
    typer.Option(
        "--cert", metavar="FILE", help="PEM file with our certificate.", rich_help_panel=_PANEL
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="PEM file with its key.", rich_help_panel=_PANEL),
]
KeyPassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--key-passphrase-file",
        metavar="FILE",
        help="File with the passphrase of an encrypted key.",
        rich_help_panel=_PANEL,
    ),
]
ProfileOption = Annotated[
    TlsProfile | None,
    typer.Option(
        "--tls-profile", help="As in the configuration; bcp195 by default.", rich_help_panel=_PANEL
    ),
]
CheckHostOption = Annotated[
    bool,
    typer.Option(
        "--check-host/--no-check-host",
        help="Whether the peer's certificate must name the host that is called.",
        rich_help_panel=_PANEL,
    ),
]


def tls_section(
    *,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    key_passphrase_file: Path | None,
    profile: TlsProfile | None,
    check_host: bool,
) -> TlsClientConfig | None:
    """Return the TLS section that the options stand for, None for a plain connection.

    Raises
    ------
    typer.BadParameter
        If options are given that mean nothing without another one: nobody who asks for TLS shall
        speak in clear.
    """
    if ca is None:
        given = {
            "--cert": cert is not None,
            "--key": key is not None,
            "--key-passphrase-file": key_passphrase_file is not None,
            "--tls-profile": profile is not None,
            "--no-check-host": not check_host,
        }
        for option in (name for name, is_given in given.items() if is_given):
            raise typer.BadParameter(f"{option} wants --ca with it: whom to trust")
        return None
    if (cert is None) != (key is None):
        raise typer.BadParameter(
            "--cert and --key are wanted together, found one without the other"
        )
    if key_passphrase_file is not None and key is None:
        raise typer.BadParameter("--key-passphrase-file wants --cert and --key with it")
    return TlsClientConfig(
        profile=profile or "bcp195",
        authentication="server" if cert is None else "mutual",
        authorities=ca,
        certificate=cert,
        key=key,
        key_passphrase_file=key_passphrase_file,
        check_host=check_host,
    )
