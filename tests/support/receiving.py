"""The receiver of a whole node in this process, without Triton, and configurations for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicomnode.config import Config, load
from dicomnode.node.composition import Node
from dicomnode.standard.sop_classes import CT_IMAGE
from tests.support.node import write_config

REFERENCE = Path(__file__).parents[2] / "config" / "dicomnode.toml"
PRIVATE_CLASS = "1.3.6.1.4.1.99999.7.1"


def settings(folder: Path, **sections: Any) -> Config:
    """Load a configuration that is written into a folder."""
    return load(write_config(folder / "dicomnode.toml", **sections))


def folder_destination(folder: Path) -> dict[str, Any]:
    return {"out": {"kind": "folder", "path": str(folder / "results")}}


@contextmanager
def receiving(config: Config) -> Iterator[Node]:
    """Run the receiver of a whole node."""
    node = Node(config, roles=frozenset(("receive",)))
    node.start()
    try:
        yield node
    finally:
        node.stop()


def plain(folder: Path, **more: Any) -> Config:
    """Return one pipeline, called AE title CHEST."""
    receive = {"port": 0, "headroom_bytes": 0, "reserve_bytes": 0} | more.pop("receive", {})
    return settings(
        folder,
        receive=receive,
        pipelines={"chest": {"ae_title": "CHEST", "destinations": ["out"]} | more},
        destinations=folder_destination(folder),
    )


def receiver(config: Config, **changes: Any) -> Config:
    """Return the same configuration with other values in ``[receive]``."""
    return config.model_copy(update={"receive": config.receive.model_copy(update=changes)})


def as_shown(folder: Path) -> Config:
    """Return the configuration that the project shows."""
    config = load(REFERENCE).model_copy(update={"data_dir": folder / "data"})
    return receiver(config, port=0)


def two_pipelines(folder: Path) -> Config:
    """Return two pipelines of different policies, and a destination that commits itself."""
    return settings(
        folder,
        pipelines={
            "chest": {"ae_title": "CHEST", "destinations": ["pacs"], "other_classes": "refuse"},
            "any": {
                "ae_title": "ANY",
                "destinations": ["pacs"],
                "store_classes": [CT_IMAGE, PRIVATE_CLASS],
            },
        },
        destinations={
            "pacs": {
                "kind": "dimse",
                "ae_title": "PACS",
                "host": "127.0.0.1",
                "port": 104,
                "storage_commitment": True,
            }
        },
    )
