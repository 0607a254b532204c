"""Reads file and environment and builds the tree, or names every fault in it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from dicomnode.config.faults import describe_faults, nearest
from dicomnode.config.references import cross_faults
from dicomnode.config.services import DatabaseConfig
from dicomnode.config.tree import ENV_PREFIX, Config
from dicomnode.errors import ConfigError

_ENV_NOT_KEYS: Final = ("DICOMNODE_CONFIG",)
_DEFAULT_PIPELINES: Final = {"chest-ct": {"ae_title": "DICOMNODE", "destinations": ["results"]}}


def find_file(explicit: Path | None) -> Path | None:
    """Return the file to read: `explicit`, else ``DICOMNODE_CONFIG``, else ``./dicomnode.toml``.

    Returns
    -------
    Path or None
        None means the built-in defaults.
    """
    if explicit is not None:
        return explicit
    named = os.environ.get("DICOMNODE_CONFIG")
    if named:
        return Path(named)
    here = Path("dicomnode.toml")
    return here if here.is_file() else None


def load(path: Path | None) -> Config:
    """Read file and environment and build the tree.

    Parameters
    ----------
    path : Path or None
        From `find_file`; None for the built-in defaults.

    Raises
    ------
    ConfigError
        With every fault found, each naming its dotted path.
    """
    values = _read(path) if path is not None else {}
    faults = list(_merge_environment(values))
    if "pipelines" not in values and "destinations" not in values:
        data_dir = Path(str(values.get("data_dir", "dicomnode-data")))
        values["pipelines"] = dict(_DEFAULT_PIPELINES)
        values["destinations"] = {
            "results": {"kind": "folder", "path": str(data_dir / "results")},
        }
    config: Config | None = None
    try:
        config = Config(**values)
        config = config.model_copy(update={"database": _with_url(config.database)})
    except ValidationError as error:
        faults.extend(describe_faults(error))
    except ConfigError as error:
        faults.extend(error.faults)
    faults.extend(cross_faults(values))
    if faults or config is None:
        raise ConfigError(tuple(faults))
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read: {error.strerror}",)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError((f"{path}: is not TOML: {error}",)) from error


def _with_url(database: DatabaseConfig) -> DatabaseConfig:
    """Return the section with its URL, read from the file that it names."""
    path = database.url_file
    if path is None:
        return database
    try:
        url = path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "is no text"
        raise ConfigError((f"database.url_file: {path}: {words}",)) from error
    try:
        return DatabaseConfig(url=url, url_file=path)
    except ValidationError as error:
        # Not what was found: it may hold a password.
        fault = f"database.url_file: {path}: wanted a line postgresql://..."
        raise ConfigError((fault,)) from error


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _merge_environment(values: dict[str, Any]) -> Iterator[str]:
    """Let the environment's values win; name the variables that set nothing: typos, no JSON."""
    source = EnvSettingsSource(Config)
    for variable in sorted(os.environ):
        if not variable.startswith(ENV_PREFIX) or variable in _ENV_NOT_KEYS:
            continue
        key = variable.removeprefix(ENV_PREFIX).lower().split("__")[0]
        if key not in Config.model_fields:
            yield f"{variable}: no such key{nearest(key, Config.model_fields)}"
            continue
        source.env_vars = {variable.lower(): os.environ[variable]}
        try:
            found = source()
        except SettingsError:
            yield f"{variable}: a list or a section is written as JSON, found something else"
            continue
        for section in ("pipelines", "destinations"):
            if isinstance(named := found.get(section), Mapping):
                # A hyphen is no character of a variable; an underscore is none of a name.
                found[section] = {name.replace("_", "-"): each for name, each in named.items()}
        _merge(values, found)
