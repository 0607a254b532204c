"""What one table of a manifest says of another, on raw values, so that no fault hides another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def cross_faults(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each contradiction, beginning with the dotted path of a key."""
    task = values.get("task")
    outputs = present(values.get("output"))
    if task == "segment":
        yield from _one_of(outputs, "output", ("labels", "probabilities", "nifti"))
        yield from _not_for(outputs, "output", ("scores", "answer"), task)
        yield from _segment_faults(_tables(values.get("segments")))
        yield from _number_faults(values)
        for key in ("classification", "measurements"):
            if values.get(key):
                yield f"{key}: is for models of task classify"
    elif task == "classify":
        yield from _one_of(outputs, "output", ("scores", "answer"))
        yield from _not_for(outputs, "output", ("labels", "probabilities", "nifti"), task)
        for key in ("segments", "ratios"):
            if values.get(key):
                yield f"{key}: is for models of task segment"
        classification = values.get("classification")
        if not isinstance(classification, Mapping):
            yield "classification: is required for task classify"
        else:
            yield from _class_faults(classification)
            if ("answer" in outputs) != (classification.get("decision") == "named"):
                yield "output.answer: wanted together with decision named, found one without other"
    if ("measurements" in outputs) != bool(values.get("measurements")):
        yield "output.measurements: wanted together with [[measurements]], found one without other"
    yield from _input_faults(_table(values.get("input")), _table(values.get("output")))
    yield from _tensor_faults(values)


def present(table: Any) -> set[str]:
    """Return the keys of a table that hold something."""
    return {str(key) for key, value in _table(table).items() if value is not None}


def _one_of(found: set[str], path: str, keys: tuple[str, ...]) -> Iterator[str]:
    given = [key for key in keys if key in found]
    if not given:
        yield f"{path}.{keys[0]}: is required for this task, or {' or '.join(keys[1:])}"
    elif len(given) > 1:
        yield f"{path}: wanted one of {', '.join(keys)}, found {', '.join(given)}"


def _not_for(found: set[str], path: str, keys: tuple[str, ...], task: str) -> Iterator[str]:
    for key in keys:
        if key in found:
            yield f"{path}.{key}: is not for models of task {task}"


def _input_faults(made: Mapping[str, Any], output: Mapping[str, Any]) -> Iterator[str]:
    keys = present(made)
    yield from _one_of(keys, "input", ("volume", "nifti"))
    if "resize" in keys and "windows" in keys:
        yield "input: wanted one of resize, windows, found both"
    shaping = keys & {"mask", "crop", "resample", "intensity", "resize", "windows"}
    if "nifti" in keys:
        for key in sorted(shaping | (keys & {"spacing", "labels"})):
            yield f"input.{key}: is not for models that take a NIfTI file, which prepare it inside"
    elif "nifti" in present(output):
        yield "output.nifti: is for models that take a NIfTI file"
    if "windows" in keys and "scores" in present(output):
        yield "input.windows: a classification is of the whole volume, found windows"
    if shaping and keys & {"spacing", "labels"} and "volume" in keys:
        # The grid that such a model is told of would not be the one that it sees.
        for key in sorted(keys & {"spacing", "labels"}):
            yield f"input.{key}: is for models that see the volume on its own grid"
    yield from _crop_faults(_table(made.get("crop")))
    yield from _layout_faults(made, output)


def _crop_faults(crop: Mapping[str, Any]) -> Iterator[str]:
    structures = bool(crop.get("structures"))
    if crop.get("to") == "segment" and not structures:
        yield "input.crop.structures: is required for crop to segment"
    if crop.get("to") == "body" and structures:
        yield "input.crop.structures: is for crop to segment"


def _layout_faults(made: Mapping[str, Any], output: Mapping[str, Any]) -> Iterator[str]:
    layout = _table(made.get("volume")).get("layout")
    windows = _table(made.get("windows"))
    per_call = windows.get("per_call", 1)
    if isinstance(per_call, int) and per_call > 1:
        for path, given in (
            ("input.volume", layout or "ZYX"),
            ("output.probabilities", _table(output.get("probabilities")).get("layout") or "N"),
            ("output.labels", _table(output.get("labels")).get("layout") or "ZYX"),
        ):
            side, key = path.split(".")
            if key in present(made if side == "input" else output) and "N" not in str(given):
                yield f"{path}.layout: wanted N for {per_call} windows a call, found {given!r}"
    maps = _table(output.get("probabilities"))
    channels = maps.get("channels")
    if isinstance(channels, list | tuple):
        if len(channels) > 1 and "C" not in str(maps.get("layout") or "NCZYX"):
            yield (
                f"output.probabilities.layout: wanted C for {len(channels)} channels, "
                f"found {maps.get('layout')!r}"
            )
        if maps.get("activation") == "softmax" and len(channels) < 2:
            yield "output.probabilities.activation: softmax wants two channels, found one"
        if len(set(channels)) < len(channels):
            yield f"output.probabilities.channels: wanted each number once, found {list(channels)}"
    if maps.get("dtype") == "UINT8" and maps.get("activation") not in (None, "none"):
        yield "output.probabilities.activation: is none for UINT8, found another"


def _segment_faults(segments: list[Mapping[str, Any]]) -> Iterator[str]:
    if not segments:
        yield "segments: wanted at least one for task segment, found none"
    for index, segment in enumerate(segments):
        number = segment.get("number")
        if isinstance(number, int) and number != index + 1:
            # Segment Number starts at 1 and increases by 1 (PS3.3 C.8.20.2).
            yield f"segments.{index}.number: wanted {index + 1}, found {number}"


def _number_faults(values: Mapping[str, Any]) -> Iterator[str]:
    """Find numbers of segments that are not there."""
    known = {each.get("number") for each in _tables(values.get("segments"))}
    maps = _table(_table(values.get("output")).get("probabilities"))
    channels = maps.get("channels")
    if isinstance(channels, list | tuple):
        for index, number in enumerate(channels):
            if number != 0 and number not in known:
                yield f"output.probabilities.channels.{index}: no segment has number {number!r}"
        for number in sorted(each for each in known if isinstance(each, int)):
            if number not in channels:
                yield f"output.probabilities.channels: wanted segment {number} among them"
    for index, ratio in enumerate(_tables(values.get("ratios"))):
        if ratio.get("segment") not in known:
            yield f"ratios.{index}.segment: no segment has number {ratio.get('segment')!r}"


def _class_faults(classification: Mapping[str, Any]) -> Iterator[str]:
    decision = classification.get("decision")
    lowest: float | None = None
    seen: set[tuple[Any, Any]] = set()
    words: set[str] = set()
    for index, each in enumerate(_tables(classification.get("classes"))):
        path = f"classification.classes.{index}"
        score = each.get("from_score")
        if decision in ("argmax", "named") and score is not None:
            yield f"{path}.from_score: is for decision grades"
        if decision == "grades" and score is None:
            yield f"{path}.from_score: is required for decision grades"
        if decision == "grades" and isinstance(score, int | float):
            if lowest is None and index == 0 and score != 0:
                yield f"{path}.from_score: wanted 0 for the first class, found {score}"
            if lowest is not None and not score > lowest:
                yield f"{path}.from_score: wanted more than {lowest}, found {score}"
            lowest = float(score)
        yield from _word_faults(path, decision, each.get("answer"), words)
        code = each.get("code")
        if isinstance(code, Mapping):
            key = (str(code.get("scheme")), str(code.get("value")))
            if key in seen:
                yield f"{path}.code: ({key[1]}, {key[0]}) already names another class"
            seen.add(key)


def _word_faults(path: str, decision: Any, word: Any, words: set[str]) -> Iterator[str]:
    if decision == "named" and not word:
        yield f"{path}.answer: is required for decision named"
    if decision in ("argmax", "grades") and word is not None:
        yield f"{path}.answer: is for decision named"
    if isinstance(word, str):
        if word in words:
            yield f"{path}.answer: {word!r} already names another class"
        words.add(word)


def _tensor_faults(values: Mapping[str, Any]) -> Iterator[str]:
    for side in ("input", "output"):
        names: set[str] = set()
        nameless: list[str] = []
        count = 0
        for key, table in _table(values.get(side)).items():
            if key not in _TENSORS or not isinstance(table, Mapping):
                continue
            count += 1
            name = table.get("tensor") or ""
            if not name:
                nameless.append(f"{side}.{key}")
            elif isinstance(name, str):
                if name in names:
                    yield f"{side}.{key}.tensor: {name!r} already names another tensor"
                names.add(name)
        if count > 1:
            for path in nameless:
                yield f"{path}.tensor: is required where there are {count} tensors"


_TENSORS = frozenset(
    ("volume", "nifti", "spacing", "labels", "probabilities", "scores", "answer", "measurements")
)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tables(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list | tuple):
        return []
    return [each for each in value if isinstance(each, Mapping)]
