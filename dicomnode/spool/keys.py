"""Keys of stored files: relative paths that cannot lead elsewhere."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from dicomnode.errors import StateError


def checked_path(root: Path, key: str, *, below: str) -> Path:
    """Return ``root / key`` if `key` is a plain relative path below the folder `below`.

    Raises
    ------
    StateError
        If it is not.
    """
    parts = PurePosixPath(key).parts
    plain = "\x00" not in key and "\\" not in key and all(part not in {"..", "."} for part in parts)
    if not plain or len(parts) < 2 or parts[0] != below or key != "/".join(parts):
        raise StateError(f"wanted a key below {below}/, found {key!r}")
    path = root.joinpath(*parts)
    if not path.parent.resolve().is_relative_to(root):
        raise StateError(f"the key {key!r} leads out of the spool")
    return path
