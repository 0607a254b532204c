"""``dicomnode password`` and ``dicomnode token``: lines of the files that say who may come."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from dicomnode.cli.output import Exit, facts, talk
from dicomnode.console.credentials import NAME, new_token, password_line

_SHORTEST_PASSWORD = 8


class RoleName(Enum):
    """What somebody may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"


def _check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise typer.BadParameter("wanted letters, digits and . _ @ -, 64 at most")
    return name


NameArgument = Annotated[str, typer.Argument(metavar="NAME", callback=_check_name)]
RoleOption = Annotated[
    RoleName, typer.Option("--role", help="A viewer looks; an operator acts as well.")
]


def password(name: NameArgument, role: RoleOption = RoleName.VIEWER) -> None:
    """Ask for a password and print the line for console.access.password_file.

    Without a terminal the password is the first line of standard input.
    """
    stdin = typer.get_text_stream("stdin")
    if stdin.isatty():
        secret = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        secret = stdin.readline().rstrip("\r\n")
    if len(secret) < _SHORTEST_PASSWORD:
        talk.print(f"wanted a password of at least {_SHORTEST_PASSWORD} characters")
        raise typer.Exit(Exit.FAILED)
    line = password_line(name, role.value, secret)
    facts.print(line, markup=False, highlight=False, soft_wrap=True)


def token(name: NameArgument, role: RoleOption = RoleName.VIEWER) -> None:
    """Make a bearer token for a program, and the line for console.access.token_file.

    The line goes to standard output, the token to standard error: it is shown this once.
    """
    secret, line = new_token(name, role.value)
    talk.print(f"token: {secret}", markup=False, highlight=False, soft_wrap=True)
    facts.print(line, markup=False, highlight=False, soft_wrap=True)
