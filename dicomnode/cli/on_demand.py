"""Commands whose modules are imported when they are asked for.  Which there are, `main` says.

All of them together load every library of the node, which takes seconds and 300 MB; most commands
need a fraction of that.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class Source:
    """Where a command is defined.

    Attributes
    ----------
    place : str
        ``module:attribute`` within `dicomnode.cli`; a function, or a `typer.Typer` with commands
        of its own.
    panel : str
        Of the help that lists it.
    """

    place: str
    panel: str

    def load(self, name: str) -> Any:
        """Import the module and return the command, under this name."""
        module, _, attribute = self.place.partition(":")
        found = getattr(import_module(f"dicomnode.cli.{module}"), attribute)
        holder = typer.Typer()
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=name, rich_help_panel=self.panel)
        else:
            holder.command(name, rich_help_panel=self.panel)(found)
        return typer.main.get_group(holder).commands[name]


class _Commands(UserDict[str, Any]):
    """Commands by name, each loaded when it is looked at."""

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if isinstance(found, Source):
            found = self[name] = found.load(name)
        return found


def on_demand(sources: Mapping[str, Source]) -> type[TyperGroup]:
    """Return the class of a group with these commands, by name and in this order."""

    class Group(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = _Commands(sources)

        def list_commands(self, ctx: Any) -> list[str]:
            """Return the names; the library's own way would load them all."""
            del ctx
            return list(self.commands)

    return Group
