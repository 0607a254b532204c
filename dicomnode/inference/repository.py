"""Model repositories for the embedded server: what is wrong with them, other instance counts.

Triton reads the number from ``config.pbtxt`` alone; a model that gets another is served from a
folder of links to its own files, beside a configuration that differs in that number.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dicomnode.errors import InferenceUnavailable

_CONFIGURATION: Final = "config.pbtxt"
_GROUP: Final = re.compile(r"instance_group\s*\[.*?\]\s*", re.DOTALL)


def check_repositories(repositories: Sequence[Path]) -> None:
    """Say what Triton would say of folders, in words that name them.

    Raises
    ------
    InferenceUnavailable
        If a folder is missing, or two have a model of one name.
    """
    missing = [str(path) for path in repositories if not path.is_dir()]
    if missing:
        raise InferenceUnavailable(f"wanted model repositories, found no {', '.join(missing)}")
    models = Counter(
        model.parent.name for path in repositories for model in path.glob("*/config.pbtxt")
    )
    twice = sorted(name for name, count in models.items() if count > 1)
    if twice:
        raise InferenceUnavailable(f"two model repositories have a model {', '.join(twice)}")


def with_instances(
    repositories: Sequence[Path], instances: Mapping[str, int], *, folder: Path
) -> tuple[Path, ...]:
    """Return repositories that serve the same models, some with another number of instances.

    Parameters
    ----------
    repositories : sequence of Path
        Triton model repositories.
    instances : mapping of str to int
        By name of the Triton model.  They compute on the CPU, as all models of the embedded server.
    folder : Path
        Where to put links; what an earlier start left there is removed.

    Returns
    -------
    tuple of Path
        The repositories themselves where nothing changes.

    Raises
    ------
    InferenceUnavailable
        If there is no such model.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not instances:
        return tuple(repositories)
    models = {
        path.parent.name: path.parent
        for repository in repositories
        for path in sorted(repository.glob(f"*/{_CONFIGURATION}"))
    }
    missing = sorted(set(instances) - set(models))
    if missing:
        raise InferenceUnavailable(
            f"inference.model_instances: no model is called {', '.join(missing)}; "
            f"known are {', '.join(sorted(models))}"
        )
    for name, model in models.items():
        target = folder / name
        if name not in instances:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(model.resolve(), target_is_directory=True)
            continue
        target.mkdir(parents=True)
        for path in model.iterdir():
            if path.name != _CONFIGURATION:
                (target / path.name).symlink_to(path.resolve())
        text = (model / _CONFIGURATION).read_text(encoding="utf-8")
        (target / _CONFIGURATION).write_text(_rewritten(text, instances[name]), encoding="utf-8")
    return (folder,)


def _rewritten(configuration: str, count: int) -> str:
    rest = _GROUP.sub("", configuration).rstrip()
    return f"{rest}\ninstance_group [ {{ kind: KIND_CPU count: {count} }} ]\n"
