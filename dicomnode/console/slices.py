"""Axial, coronal and sagittal slices of a scene as PNG: radiological convention, true proportions.

The patient's right is on the left of the picture, the head on top, in a sagittal slice the front on
the left.  Nothing of a patient is drawn but voxels, and letters for the directions.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicomnode.console.volumes import Scene
from dicomnode.model.volume import VolumeGeometry
from dicomnode.results.panels import FILL_OPACITY, Color, blend, write_outlined

PlaneName: TypeAlias = Literal["axial", "coronal", "sagittal"]
WindowName: TypeAlias = Literal["lung", "mediastinum", "bone", "soft-tissue"]

WINDOWS: Final[dict[WindowName, tuple[float, float]]] = {
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 350.0),
    "bone": (400.0, 1800.0),
    "soft-tissue": (50.0, 400.0),
}
"""Center and width, HU."""

DEFAULT_OPACITY: Final = FILL_OPACITY

_LETTERS: Final = (("L", "R"), ("P", "A"), ("H", "F"))
"""Toward and against each axis of LPS patient space (PS3.3 C.7.6.1.1.1)."""
_SLANTED: Final = 0.2
"""Least cosine, of 78 degrees, for a second letter: less is how patients lie."""
_MARK_PIXELS: Final = 22

_LEAST_PIXELS, _MOST_PIXELS = 512, 1024
"""The longest side of a volume is drawn so long, whatever its spacing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """How slices in one direction are cut and laid on the picture.

    Attributes
    ----------
    name : str
    across, down, through : int
        Axis (0 column, 1 row, 2 slice) that runs to the right, downward, and from slice to slice.
    is_head_up : bool
        Whether the downward axis is drawn against its index.
    """

    name: PlaneName
    across: int
    down: int
    through: int
    is_head_up: bool

    def cut(self, array: NDArray[Any], index: int) -> NDArray[Any]:
        """Return a slice of an array indexed (slice, row, column), as it is drawn."""
        part: NDArray[Any] = np.take(array, index, axis=2 - self.through)
        return part[::-1] if self.is_head_up else part


PLANES: Final[dict[PlaneName, Plane]] = {
    "axial": Plane(name="axial", across=0, down=1, through=2, is_head_up=False),
    "coronal": Plane(name="coronal", across=0, down=2, through=1, is_head_up=True),
    "sagittal": Plane(name="sagittal", across=1, down=2, through=0, is_head_up=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneFacts:
    """What can be said of all slices of a plane.

    Attributes
    ----------
    name : str
    count : int
        Slices; indices run from 0 toward head, back or left.
    columns, rows : int
        Voxels across and down.
    width, height : int
        Of the picture, pixels of one size in millimeters.
    left, right, top, bottom : str
        Letters at the edges: R, L, A, P, H, F, two or three where the plane is slanted.
    axis : str
        Of LPS patient space that slices run along: x, y or z.
    first_mm, step_mm : float
        Where the center of slice 0 lies on that axis, and from there the next.
    is_slanted : bool
        Whether the plane is parallel to no plane of patient space; a position then holds for the
        center of a slice alone.
    """

    name: PlaneName
    count: int
    columns: int
    rows: int
    width: int
    height: int
    left: str
    right: str
    top: str
    bottom: str
    axis: str
    first_mm: float
    step_mm: float
    is_slanted: bool

    def position_mm(self, index: int) -> float:
        """Return where the center of a slice lies along `axis`."""
        return self.first_mm + index * self.step_mm


def describe_plane(geometry: VolumeGeometry, name: PlaneName) -> PlaneFacts:
    """Say how the slices of a plane look and lie.

    Parameters
    ----------
    geometry : VolumeGeometry
        Of a scene: axes run to left, back and head, as nearly as the series allows.
    name : str
    """
    plane = PLANES[name]
    counts = geometry.shape_kji[::-1]
    spacing = geometry.spacing_ijk_mm
    pixel_mm = _pixel_mm(counts, spacing)
    units = geometry.affine_ijk_to_lps[:3, :3] / np.asarray(spacing)
    right = direction_letters(units[:, plane.across])
    left = direction_letters(-units[:, plane.across])
    forth, back = (direction_letters(sign * units[:, plane.down]) for sign in (1, -1))
    top, bottom = (forth, back) if plane.is_head_up else (back, forth)
    middle = (np.asarray(counts, dtype=float) - 1) / 2
    middle[plane.through] = 0
    first = geometry.to_lps(middle)
    axis = plane.through
    return PlaneFacts(
        name=name,
        count=counts[plane.through],
        columns=counts[plane.across],
        rows=counts[plane.down],
        width=max(1, round(counts[plane.across] * spacing[plane.across] / pixel_mm)),
        height=max(1, round(counts[plane.down] * spacing[plane.down] / pixel_mm)),
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        axis="xyz"[axis],
        first_mm=float(first[axis]),
        step_mm=float(geometry.affine_ijk_to_lps[axis, axis]),
        is_slanted=bool(abs(units[axis, plane.through]) < 0.9999),
    )


def direction_letters(direction: NDArray[np.float64]) -> str:
    """Name a direction of patient space, the nearest axis first (PS3.3 C.7.6.1.1.1).

    Parameters
    ----------
    direction : numpy.ndarray, shape (3,)
        A unit vector, LPS.
    """
    order = np.argsort(-np.abs(direction), kind="stable")
    named = [axis for axis in order if abs(direction[axis]) >= _SLANTED]
    return "".join(_LETTERS[axis][0 if direction[axis] > 0 else 1] for axis in named)


def draw_slice(
    scene: Scene,
    name: PlaneName,
    index: int,
    *,
    window: tuple[float, float],
    segments: Collection[int] | None = None,
    opacity: float = DEFAULT_OPACITY,
    letters: bool = True,
) -> Image.Image:
    """Draw one slice.

    Parameters
    ----------
    scene : Scene
    name : str
        Of the plane.
    index : int
        Of the slice, from 0 at feet, front or right.
    window : tuple of float
        Center and width, HU.
    segments : collection of int, optional
        Numbers of the segments that are shown; all by default.
    opacity : float
        Of their tint, 0 to 1.
    letters : bool
        Whether the directions are written at the edges.

    Raises
    ------
    IndexError
        If there is no such slice.
    """
    facts = describe_plane(scene.geometry, name)
    if not 0 <= index < facts.count:
        raise IndexError(f"wanted a slice from 0 to {facts.count - 1}, found {index}")
    plane = PLANES[name]
    drawn = blend(
        plane.cut(scene.voxels_hu, index),
        _masks(scene, plane.cut(scene.label_map.labels, index), segments),
        size=(facts.width, facts.height),
        window=window,
        opacity=opacity,
    )
    image = Image.fromarray(drawn)
    if letters:
        _mark(image, facts)
    return image


def encode_slice(image: Image.Image) -> bytes:
    """Return a picture as PNG, made quickly rather than small."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _masks(
    scene: Scene, labels: NDArray[np.uint8], shown: Collection[int] | None
) -> list[tuple[NDArray[np.bool_], Color]]:
    """Return where the uppermost of the shown segments lie, of those in the slice."""
    uppermost = np.zeros(256, np.uint8)
    for segment in scene.segments:
        uppermost[segment.number] = segment.number
    for value, numbers in scene.label_map.overlaps.items():
        wanted = [each for each in numbers if shown is None or each in shown]
        uppermost[value] = wanted[-1] if wanted else 0
    flat = uppermost[labels]
    present = np.flatnonzero(np.bincount(flat.ravel(), minlength=1))
    return [
        (flat == each.number, each.color_rgb)
        for each in scene.segments
        if each.number in present and (shown is None or each.number in shown)
    ]


def _mark(image: Image.Image, facts: PlaneFacts) -> None:
    """Write the directions at the middle of each edge."""
    draw = ImageDraw.Draw(image)
    width, height = image.size
    for place, text, anchor in (
        ((8, height / 2), facts.left, "lm"),
        ((width - 8, height / 2), facts.right, "rm"),
        ((width / 2, 6), facts.top, "ma"),
        ((width / 2, height - 6), facts.bottom, "md"),
    ):
        write_outlined(draw, place, text, _MARK_PIXELS, anchor=anchor)


def _pixel_mm(counts: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    """Return the size of a pixel, the same in all planes."""
    longest = max(n * mm for n, mm in zip(counts, spacing, strict=True))
    return longest / min(_MOST_PIXELS, max(_LEAST_PIXELS, round(longest / min(spacing))))
