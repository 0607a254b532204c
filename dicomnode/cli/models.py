"""``dicomnode models``: holds the manifests against the inference server."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from dicomnode.cli.output import (
    ConfigOption,
    Exit,
    JsonOption,
    errors_as_exits,
    fact_table,
    print_json,
    print_table,
    talk,
)
from dicomnode.config import find_file, load
from dicomnode.errors import InferenceError
from dicomnode.inference.client import TritonClient
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.node.triton import open_triton
from dicomnode.pipeline.setup import build_setups

app = typer.Typer(no_args_is_help=True, help="Models and their manifests.")


@app.command()
def check(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Hold each pipeline's manifests against the server: names, dtypes and shapes."""
    with errors_as_exits(), ExitStack() as stack:
        settings = load(find_file(config))
        setups = build_setups(settings)
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="dicomnode-")))
        with talk.status("starting" if settings.inference.triton == "embedded" else "asking"):
            client = open_triton(settings.model_copy(update={"data_dir": scratch}), stack)
            server = client.server_identity()
            manifests = {each.name: each for setup in setups.values() for each in setup.manifests}
            rows = [_ask(client, manifest) for manifest in manifests.values()]
    if as_json:
        print_json({"server": server, "models": rows})
    else:
        table = fact_table("manifest", "model", "version", "contract")
        table.title = server
        for row in rows:
            table.add_row(row["name"], row["model"], row["version"], row["fault"] or "kept")
        print_table(table)
    if any(row["fault"] for row in rows):
        raise typer.Exit(Exit.FAILED)


@app.command()
def schema() -> None:
    """Print the JSON schema of a manifest, for editors that know TOML."""
    print_json(Manifest.model_json_schema())


def _ask(client: TritonClient, manifest: Manifest) -> dict[str, str | None]:
    try:
        client.check_contract(manifest)
        fault = None
    except InferenceError as error:
        fault = str(error)
    return {
        "name": manifest.name,
        "task": manifest.task,
        "model": manifest.triton.model,
        "version": manifest.algorithm.version,
        "digest": manifest.digest,
        "fault": fault,
    }
