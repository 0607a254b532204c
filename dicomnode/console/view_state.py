"""What a page of slices shows, as its address says it: planes, slices, window, segments.

Everything is in the address, so that links and forms alone steer the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar
from urllib.parse import urlencode

from dicomnode.console.slices import DEFAULT_OPACITY, PLANES, WINDOWS, PlaneName, WindowName
from dicomnode.console.volumes import Scene

_Name = TypeVar("_Name", bound=str)

_DEFAULT_PERCENT: Final = round(100 * DEFAULT_OPACITY)
_AXES: Final[dict[PlaneName, int]] = {"axial": 0, "coronal": 1, "sagittal": 2}
"""Of (slice, row, column) indices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewState:
    """What is shown.

    Attributes
    ----------
    plane : str
        The one that is shown large.
    slices : mapping of str to int
        By plane, the slice that is shown, from 0.
    window : str
    segments : tuple of int, or None
        Numbers of the segments that are shown; None for all.
    opacity : int
        Of their tint, percent.
    """

    plane: PlaneName
    slices: Mapping[PlaneName, int]
    window: WindowName
    segments: tuple[int, ...] | None
    opacity: int

    @classmethod
    def parse(cls, query: Mapping[str, Sequence[str]], scene: Scene) -> ViewState:
        """Read the state from a query; what is absent or senseless becomes what is sensible.

        Parameters
        ----------
        query : mapping of str to sequence of str
            Slices are counted from 1 there, as people do.
        scene : Scene
        """

        def last(name: str, default: str) -> str:
            return query[name][-1] if query.get(name) else default

        plane: PlaneName = _chosen(last("plane", ""), tuple(PLANES), "axial")
        window: WindowName = _chosen(last("window", ""), tuple(WINDOWS), "lung")
        slices = most_telling(scene)
        for name, axis in _AXES.items():
            number = _whole(last(name, ""))
            if number is not None:
                slices[name] = min(max(number - 1, 0), scene.geometry.shape_kji[axis] - 1)
        opacity = _whole(last("opacity", ""))
        return cls(
            plane=plane,
            slices=slices,
            window=window,
            segments=parse_segments(query.get("segments", ())),
            opacity=_DEFAULT_PERCENT if opacity is None else min(max(opacity, 0), 100),
        )

    def shows(self, number: int) -> bool:
        """Whether a segment is shown."""
        return self.segments is None or number in self.segments

    def at(self, slices: Mapping[PlaneName, int]) -> str:
        """Return the query of the same page with other slices, counted from 0."""
        return replace(self, slices={**self.slices, **slices}).query()

    def enlarged(self, plane: PlaneName) -> str:
        """Return the query of the same page with another plane shown large."""
        return replace(self, plane=plane).query()

    def query(self) -> str:
        """Return the query that `parse` reads back."""
        pairs: list[tuple[str, object]] = [("plane", self.plane)]
        pairs += [(name, index + 1) for name, index in self.slices.items()]
        pairs += [("window", self.window), ("opacity", self.opacity)]
        if self.segments is not None:
            pairs.append(("segments", self._segments_text()))
        return urlencode(pairs, safe=",")

    def image_query(self) -> str:
        """Return the query of a picture that looks as the page does."""
        shown = "all" if self.segments is None else self._segments_text()
        return urlencode(
            {"window": self.window, "segments": shown, "opacity": self.opacity}, safe=","
        )

    def _segments_text(self) -> str:
        return ",".join(map(str, self.segments or ())) or "none"


def parse_segments(values: Sequence[str]) -> tuple[int, ...] | None:
    """Read which segments are wanted: ``all``, ``none``, or numbers, which count most."""
    words = [word for value in values for word in value.split(",")]
    numbers = sorted({int(word) for word in words if word.isascii() and word.isdigit()})
    if numbers:
        return tuple(numbers)
    return () if "none" in words else None


def most_telling(scene: Scene) -> dict[PlaneName, int]:
    """Return the slices to begin with: where most of what is abnormal lies, else of the first."""
    ordered = sorted(scene.segments, key=lambda each: not each.is_abnormal)
    places = (scene.fullest[each.number] for each in ordered if each.number in scene.fullest)
    middle = tuple(count // 2 for count in scene.geometry.shape_kji)
    place = next(places, middle)
    return {name: place[axis] for name, axis in _AXES.items()}


def _whole(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    return int(text) if is_number else None


def _chosen(text: str, allowed: tuple[_Name, ...], default: _Name) -> _Name:
    return next((each for each in allowed if each == text), default)
