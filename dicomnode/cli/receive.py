"""``dicomnode receive``: the role that receives, in a process of its own, with what it needs."""

from __future__ import annotations

from dicomnode.cli.output import ConfigOption
from dicomnode.receive.decoders import keep_decoders_out


def receive(config: ConfigOption = None) -> None:
    """Receive only: C-STORE in, series closed, jobs enqueued. Several may share a database."""
    keep_decoders_out()
    from dicomnode.cli.serve import run_roles  # noqa: PLC0415 - it imports pydicom

    run_roles(config, frozenset(("receive",)))
