"""What one section says of another, held against it.  Faults within one are pydantic's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from dicomnode.config.destinations import SENDER
from dicomnode.config.faults import nearest


def cross_faults(values: Mapping[str, Any]) -> Iterator[str]:
    """Check what one section says of another, on raw values, so that no fault hides another."""
    inference = values.get("inference")
    if isinstance(inference, Mapping):
        yield from _inference_faults(inference)
    yield from _storage_faults(values)
    database = values.get("database")
    if isinstance(database, Mapping) and {"url", "url_file"} <= database.keys():
        yield "database.url_file: wanted one of url and url_file, found both"
    pipelines = values.get("pipelines")
    destinations = values.get("destinations")
    if not isinstance(pipelines, Mapping):
        return
    named = destinations if isinstance(destinations, Mapping) else {}
    titles: Counter[str] = Counter()
    for name, pipeline in pipelines.items():
        if not isinstance(pipeline, Mapping):
            continue
        title = pipeline.get("ae_title")
        if isinstance(title, str):
            titles[title.strip()] += 1
            if titles[title.strip()] > 1:
                yield f"pipelines.{name}.ae_title: {title!r} already names another pipeline"
        wanted = pipeline.get("destinations")
        for index, destination in enumerate(wanted if isinstance(wanted, list | tuple) else ()):
            if destination not in named and destination != SENDER:
                yield (
                    f"pipelines.{name}.destinations.{index}: no destination is called "
                    f"{destination!r}{nearest(str(destination), named)}"
                )
    yield from _sender_faults(pipelines, named, values)


def _storage_faults(values: Mapping[str, Any]) -> Iterator[str]:
    storage = values.get("storage")
    if not isinstance(storage, Mapping):
        return
    database = values.get("database")
    named = database if isinstance(database, Mapping) else {}
    if named.get("url", "sqlite") == "sqlite" and "url_file" not in named:
        yield 'storage: wanted database.url = "postgresql://..." with it, found SQLite on a disk'
    if (storage.get("access_key_id") is None) != (storage.get("secret_key_file") is None):
        yield "storage.secret_key_file: wanted together with access_key_id, found one alone"


def _sender_faults(
    pipelines: Mapping[str, Any], named: Mapping[str, Any], values: Mapping[str, Any]
) -> Iterator[str]:
    for name, pipeline in pipelines.items():
        wanted = pipeline.get("destinations") if isinstance(pipeline, Mapping) else None
        if isinstance(wanted, list | tuple) and SENDER in wanted and not _can_return(values):
            index = list(wanted).index(SENDER)
            yield (
                f"pipelines.{name}.destinations.{index}: nobody in receive.allowed_callers has a "
                "return_to"
            )
    if SENDER in named:
        yield f"destinations.{SENDER}: the name is taken: it means whoever sent the series"


def _can_return(values: Mapping[str, Any]) -> bool:
    receive = values.get("receive")
    callers = receive.get("allowed_callers") if isinstance(receive, Mapping) else None
    return any(
        isinstance(each, Mapping) and each.get("return_to")
        for each in (callers if isinstance(callers, list | tuple) else ())
    )


def _inference_faults(inference: Mapping[str, Any]) -> Iterator[str]:
    is_embedded = inference.get("triton", "embedded") == "embedded"
    for key in ("tls", "token_file"):
        if is_embedded and inference.get(key) is not None:
            yield f'inference.{key}: is for a server of its own, found triton = "embedded"'
    for key in ("model_instances", "model_threads"):
        if not is_embedded and inference.get(key):
            yield f"inference.{key}: is for the embedded server, another one has its own"
    if not is_embedded and inference.get("token_file") and inference.get("tls") is None:
        yield "inference.token_file: wanted [inference.tls] with it, a token is never sent in clear"
    tls = inference.get("tls")
    if isinstance(tls, Mapping) and (tls.get("cert_file") is None) != (tls.get("key_file") is None):
        yield "inference.tls.key_file: wanted together with cert_file, found one without other"
