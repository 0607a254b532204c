"""Reading manifests: what a Triton model takes, gives and means, from a TOML file beside it.

What may stand in one is in `schema`.  No server is asked here.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from dicomnode.errors import ManifestInvalid
from dicomnode.inference.faults import cross_faults
from dicomnode.inference.schema.manifest import Manifest

SHIPPED_MODELS: Final = Path(__file__).resolve().parents[1] / "model_repository"
"""The Triton model repository that the package carries, with its manifests."""

CONTRACTS: Final = Path(__file__).resolve().parents[1] / "contracts"
"""Manifests of models that others have published and a site must bring."""

MANIFEST_NAME: Final = "manifest.toml"


def load_manifest(path: Path) -> Manifest:
    """Read and check one manifest file.

    Raises
    ------
    ManifestInvalid
        Naming the file and every fault in it with its dotted path.
    """
    try:
        content = path.read_bytes()
        values = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ManifestInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestInvalid(f"{path}: is not TOML: {error}") from error
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        faults = [*_field_faults(error), *cross_faults(values)]
        raise ManifestInvalid(f"{path}: {'; '.join(faults)}") from error
    manifest._digest = hashlib.sha256(content).hexdigest()  # noqa: SLF001  a value is made here
    return manifest


def find_manifests(folders: Iterable[Path]) -> dict[str, Manifest]:
    """Read the manifest of every model in the given model repositories.

    Parameters
    ----------
    folders : iterable of Path
        Triton model repositories: one folder a model, ``manifest.toml`` beside its configuration.

    Returns
    -------
    dict
        By manifest name, in order of folders and of names within them.

    Raises
    ------
    ManifestInvalid
        With the faults of all manifests; also where a folder is missing or a name is used twice.
    """
    found: dict[str, Manifest] = {}
    origins: dict[str, Path] = {}
    faults: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            faults.append(f"{folder}: wanted a folder with models, found none")
            continue
        for path in sorted(folder.glob(f"*/{MANIFEST_NAME}")):
            try:
                manifest = load_manifest(path)
            except ManifestInvalid as error:
                faults.append(str(error))
                continue
            if manifest.name in found:
                faults.append(f"{path}: name: {origins[manifest.name]} has {manifest.name!r} too")
                continue
            found[manifest.name] = manifest
            origins[manifest.name] = path
    if faults:
        raise ManifestInvalid("\n".join(faults))
    return found


def _field_faults(error: ValidationError) -> Iterator[str]:
    """Put pydantic's findings in the words of the configuration's faults."""
    for each in error.errors(include_url=False, include_context=False):
        if not each["loc"]:
            continue  # `cross_faults` says it, with paths
        path = ".".join(str(part) for part in each["loc"])
        if each["type"] == "extra_forbidden":
            close = difflib.get_close_matches(str(each["loc"][-1]), _KEYS, n=1)
            yield f"{path}: no such key" + (f"; did you mean {close[0]!r}?" if close else "")
        elif each["type"] == "missing":
            yield f"{path}: is required"
        else:
            message = each["msg"].removeprefix("Value error, ")
            found = "" if isinstance(each["input"], Mapping) else f", found {each['input']!r}"
            yield f"{path}: {message[0].lower()}{message[1:]}{found}"


def _all_keys(table: type[BaseModel]) -> Iterator[str]:
    """Yield the keys of a table and of the tables in it, for suggestions."""
    for key, field in table.model_fields.items():
        yield key
        for kind in (field.annotation, *_parts(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _all_keys(kind)


def _parts(annotation: Any) -> Iterator[Any]:
    for each in get_args(annotation):
        yield each
        yield from _parts(each)


_KEYS: Final = sorted(set(_all_keys(Manifest)))
