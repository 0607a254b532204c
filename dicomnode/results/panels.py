"""One CT slice with its segments, painted on a sheet; the marks on it; the letters of all sheets.

What is on a sheet, and where, is decided in `picture`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WINDOW_CENTER_HU: Final = -600.0
WINDOW_WIDTH_HU: Final = 1500.0
"""The lung window that radiologists use."""

SHEET: Final = (14, 16, 20)
PANEL: Final = (0, 0, 0)
BRIGHT: Final = (236, 239, 244)
DIM: Final = (160, 168, 180)
AMBER: Final = (255, 190, 92)
RULE: Final = (44, 49, 58)
FILL_OPACITY: Final = 0.32

Box: TypeAlias = tuple[int, int, int, int]
Color: TypeAlias = tuple[int, int, int]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Panel:
    """Where a slice was drawn on the sheet."""

    left: int
    top: int
    width: int
    height: int


def paint_slice(
    sheet: Image.Image,
    planes: tuple[NDArray[np.int16], NDArray[np.uint8]],
    spacing_mm: tuple[float, float],
    box: Box,
    colors: Mapping[int, Color],
) -> Panel:
    """Draw one slice as large as fits into `box` at its true proportions, on black."""
    left, top, right, bottom = box
    ImageDraw.Draw(sheet).rectangle(box, fill=PANEL)
    plane, labels = planes
    height_mm, width_mm = (n * mm for n, mm in zip(plane.shape, spacing_mm, strict=True))
    scale = min((right - left) / width_mm, (bottom - top) / height_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))

    masks = [(labels == number, color) for number, color in colors.items()]
    shown = blend(plane, masks, size=size)
    x = left + (right - left - size[0]) // 2
    y = top + (bottom - top - size[1]) // 2
    sheet.paste(Image.fromarray(shown), (x, y))
    return Panel(x, y, *size)


def blend(
    plane_hu: NDArray[np.int16],
    masks: Iterable[tuple[NDArray[np.bool_], Color]],
    *,
    size: tuple[int, int],
    window: tuple[float, float] = (WINDOW_CENTER_HU, WINDOW_WIDTH_HU),
    opacity: float = FILL_OPACITY,
) -> NDArray[np.uint8]:
    """Show one slice in a window, with its segments tinted and outlined.

    Parameters
    ----------
    plane_hu : numpy.ndarray, shape (rows, columns), dtype int16
        Hounsfield units.
    masks : iterable of (numpy.ndarray, Color)
        Where each segment lies, of the same shape, and its color; the uppermost last.  Segments
        that are not in the slice may be left out.
    size : tuple of int
        Width and height of the result, pixels.
    window : tuple of float
        Center and width, HU.
    opacity : float
        Of the tint, 0 to 1.  Outlines are solid.

    Returns
    -------
    numpy.ndarray, shape (height, width, 3) or (height, width), dtype uint8
        RGB; gray where no segment is shown.
    """
    center, width = window
    low = center - width / 2
    gray = np.clip((plane_hu.astype(np.float32) - low) * (255 / width), 0, 255)
    ct = Image.fromarray(gray.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    drawn = [(_enlarged(mask, size), color) for mask, color in masks]
    if not drawn:
        return np.asarray(ct)
    shown = np.repeat(np.asarray(ct, dtype=np.float32)[:, :, None], 3, axis=2)
    for mask, color in drawn:
        tint = np.asarray(color, dtype=np.float32)
        shown[mask] += (tint - shown[mask]) * opacity
        shown[_outline(mask)] = tint
    return np.round(shown).astype(np.uint8)


def _enlarged(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Resize a mask with smooth edges."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    resized: NDArray[np.uint8] = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    inside: NDArray[np.bool_] = resized > 127
    return inside


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the mask with a neighbor outside it."""
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: NDArray[np.bool_] = mask & ~inside
    return edge


def mark_sides(
    draw: ImageDraw.ImageDraw, panel: Panel, *, part: float = 0.5, size: int = 18
) -> None:
    """Write R and L at the edges, at `part` of the height."""
    y = panel.top + round(part * panel.height)
    write_outlined(draw, (panel.left + 8, y), "R", size, anchor="lm")
    write_outlined(draw, (panel.left + panel.width - 8, y), "L", size, anchor="rm")


def write_outlined(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, *, anchor: str
) -> None:
    """Write so that it can be read on bone and on air."""
    is_gray = draw.mode == "L"
    draw.text(
        place,
        text,
        BRIGHT[0] if is_gray else BRIGHT,
        font=font(size),
        anchor=anchor,
        stroke_width=2,
        stroke_fill=PANEL[0] if is_gray else PANEL,
    )


def wrapped(text: str, letters: Font, width: int) -> list[str]:
    """Break a line between words so that each part is at most `width` pixels wide."""
    parts: list[str] = []
    current = ""
    for word in text.split():
        longer = f"{current} {word}".strip()
        if current and letters.getlength(longer) > width:
            parts.append(current)
            current = word
        else:
            current = longer
    return [*parts, current] if current else parts


@cache
def font(size: int) -> Font:
    """Pillow's own scalable font: nothing to install."""
    return ImageFont.load_default(size=size)
