"""Label map over CT as one PNG sheet for people: coronal and axial slices, legend, conclusions.

No DICOM objects here, and nothing of a patient: only what the caller passes is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicomnode.model.findings import Segment
from dicomnode.results.evidence import RESEARCH_USE

WINDOW_CENTER_HU: Final = -600.0
WINDOW_WIDTH_HU: Final = 1500.0
"""The lung window that radiologists use."""

_SIZE: Final = (1600, 900)
_MARGIN: Final = 28
_GAP: Final = 4
_ROW_GAP: Final = 18
_CORONAL_BOX: Final = (_MARGIN, _MARGIN, 648, 640)
_AXIAL_TOP, _AXIAL_LEFT, _AXIAL_SIDE = _MARGIN, 672, 297
_AXIAL_COUNT: Final = 6
_TEXT_TOP: Final = 676
_FOOTER_TOP: Final = 852

_SHEET: Final = (14, 16, 20)
_PANEL: Final = (0, 0, 0)
_BRIGHT: Final = (236, 239, 244)
_DIM: Final = (142, 150, 163)
_AMBER: Final = (255, 190, 92)
_RULE: Final = (44, 49, 58)
_FILL_OPACITY: Final = 0.32

_BODY_HU: Final = -300
_MOST_SEGMENTS: Final = 12

_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class _Panel:
    """Where a slice was drawn on the sheet."""

    left: int
    top: int
    width: int
    height: int


def draw_overlay(
    voxels_hu: NDArray[np.int16],
    labels: NDArray[np.uint8],
    *,
    spacing_kji_mm: tuple[float, float, float],
    segments: tuple[Segment, ...],
    lines: tuple[str, ...],
) -> bytes:
    """Draw the sheet: one coronal and six axial slices in the lung window, colored by segment.

    Radiological convention: the patient's left is on the right side of the picture.

    Parameters
    ----------
    voxels_hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Hounsfield units, axial: columns run to the patient's left, rows to the back, slices to
        the head.
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8
        0 is background, else the number of a segment.
    spacing_kji_mm : tuple of float
        Distance between slices, rows and columns, mm.
    segments : tuple of Segment
        For colors and legend.
    lines : tuple of str
        What else to say, the most important first.

    Returns
    -------
    bytes
        A PNG file, 1600 x 900 pixels; the same input gives the same bytes.

    Raises
    ------
    ValueError
        If the arrays do not fit each other, or hold no voxel.
    """
    if voxels_hu.shape != labels.shape or voxels_hu.ndim != 3 or voxels_hu.size == 0:
        raise ValueError(
            f"wanted two volumes of one shape, found {voxels_hu.shape} and {labels.shape}"
        )
    sheet = Image.new("RGB", _SIZE, _SHEET)
    draw = ImageDraw.Draw(sheet)
    colors = {segment.number: segment.color_rgb for segment in segments}
    rows, columns = _body(voxels_hu)
    spacing_k, spacing_j, spacing_i = spacing_kji_mm

    # Head on top: slices run upward.
    row = _coronal_row(labels, rows)
    coronal = _paint(
        sheet,
        (voxels_hu[::-1, row, columns], labels[::-1, row, columns]),
        (spacing_k, spacing_i),
        _CORONAL_BOX,
        colors,
    )
    chosen = _axial_slices(labels)
    for place, k in enumerate(chosen):
        left = _AXIAL_LEFT + (place % 3) * (_AXIAL_SIDE + _GAP)
        top = _AXIAL_TOP + (place // 3) * (_AXIAL_SIDE + _ROW_GAP)
        panel = _paint(
            sheet,
            (voxels_hu[k, rows, columns], labels[k, rows, columns]),
            (spacing_j, spacing_i),
            (left, top, left + _AXIAL_SIDE, top + _AXIAL_SIDE),
            colors,
        )
        _mark_sides(draw, panel)
        draw.text((left + 8, top + 4), str(place + 1), _BRIGHT, font=_font(20))
    _mark_heights(draw, coronal, [1 - (k + 0.5) / len(voxels_hu) for k in chosen])
    _mark_sides(draw, coronal, part=0.95)
    _write(draw, segments, lines)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def _body(voxels_hu: NDArray[np.int16]) -> tuple[slice, slice]:
    """Rows and columns that hold the patient; all of them where there is nothing but air."""
    found = (voxels_hu[::4, ::2, ::2] > _BODY_HU).sum(axis=0) > 0
    bounds = []
    for axis, size in ((1, voxels_hu.shape[1]), (0, voxels_hu.shape[2])):
        hits = np.flatnonzero(found.any(axis=axis)) * 2
        margin = max(2, size // 40)
        bounds.append(
            slice(max(0, int(hits[0]) - margin), min(size, int(hits[-1]) + margin + 2))
            if hits.size
            else slice(0, size)
        )
    return bounds[0], bounds[1]


def _coronal_row(labels: NDArray[np.uint8], rows: slice) -> int:
    """The row with most labeled voxels; the middle of the body without any."""
    counts = np.count_nonzero(labels, axis=(0, 2))
    return int(counts.argmax()) if counts.any() else (rows.start + rows.stop) // 2


def _axial_slices(labels: NDArray[np.uint8]) -> list[int]:
    """Slices spread over what is labeled, or over all, from the head down."""
    labeled = np.flatnonzero(labels.any(axis=(1, 2)))
    low, high = (int(labeled[0]), int(labeled[-1])) if labeled.size else (0, len(labels) - 1)
    parts = (np.arange(_AXIAL_COUNT) + 0.5) / _AXIAL_COUNT
    chosen = np.unique(np.round(low + parts * (high - low)).astype(int))
    return [int(k) for k in chosen[::-1]]


def _paint(
    sheet: Image.Image,
    planes: tuple[NDArray[np.int16], NDArray[np.uint8]],
    spacing_mm: tuple[float, float],
    box: tuple[int, int, int, int],
    colors: dict[int, tuple[int, int, int]],
) -> _Panel:
    """Draw one slice as large as fits into `box` at its true proportions, on black."""
    left, top, right, bottom = box
    ImageDraw.Draw(sheet).rectangle(box, fill=_PANEL)
    plane, labels = planes
    height_mm, width_mm = (n * mm for n, mm in zip(plane.shape, spacing_mm, strict=True))
    scale = min((right - left) / width_mm, (bottom - top) / height_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))

    low = WINDOW_CENTER_HU - WINDOW_WIDTH_HU / 2
    gray = np.clip((plane.astype(np.float32) - low) * (255 / WINDOW_WIDTH_HU), 0, 255)
    ct = Image.fromarray(gray.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    shown = np.repeat(np.asarray(ct, dtype=np.float32)[:, :, None], 3, axis=2)
    for number, color in colors.items():
        mask = _enlarged(labels == number, size)
        tint = np.asarray(color, dtype=np.float32)
        shown[mask] += (tint - shown[mask]) * _FILL_OPACITY
        shown[_outline(mask)] = tint
    x = left + (right - left - size[0]) // 2
    y = top + (bottom - top - size[1]) // 2
    sheet.paste(Image.fromarray(np.round(shown).astype(np.uint8)), (x, y))
    return _Panel(x, y, *size)


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


def _mark_sides(draw: ImageDraw.ImageDraw, panel: _Panel, *, part: float = 0.5) -> None:
    """Write R and L at the edges, at `part` of the height."""
    y = panel.top + round(part * panel.height)
    _outlined(draw, (panel.left + 8, y), "R", 18, anchor="lm")
    _outlined(draw, (panel.left + panel.width - 8, y), "L", 18, anchor="rm")


def _mark_heights(draw: ImageDraw.ImageDraw, coronal: _Panel, parts: Sequence[float]) -> None:
    """Show on the coronal slice where the axial ones lie: ticks at both edges, numbered."""
    right = coronal.left + coronal.width - 1
    free_from = 0.0
    for number, part in enumerate(parts, start=1):
        y = coronal.top + part * coronal.height
        draw.line((coronal.left, y, coronal.left + 16, y), _AMBER)
        draw.line((right - 16, y, right, y), _AMBER)
        # In a thin volume the numbers would lie on each other.
        if y >= free_from:
            _outlined(draw, (coronal.left + 21, y), str(number), 15, anchor="lm")
            free_from = y + 16


def _outlined(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, *, anchor: str
) -> None:
    """Write so that it can be read on bone and on air."""
    draw.text(
        place,
        text,
        _BRIGHT,
        font=_font(size),
        anchor=anchor,
        stroke_width=2,
        stroke_fill=_PANEL,
    )


def _write(draw: ImageDraw.ImageDraw, segments: Sequence[Segment], lines: Sequence[str]) -> None:
    """Write legend, conclusions and the research-use line under the pictures."""
    width, height = _SIZE
    draw.line((_MARGIN, _TEXT_TOP - 16, width - _MARGIN, _TEXT_TOP - 16), _RULE)
    _write_legend(draw, segments)

    left, y = _AXIAL_LEFT, _TEXT_TOP
    for index, line in enumerate(lines):
        font = _font(24 if index == 0 else 19)
        step = 34 if index == 0 else 27
        for part in _wrapped(line, font, width - _MARGIN - left):
            if y + step > _FOOTER_TOP - 12:
                draw.text((left, y), "...", _DIM, font=font)
                break
            draw.text((left, y), part, _BRIGHT if index == 0 else _DIM, font=font)
            y += step
        else:
            y += 4
            continue
        break

    draw.line((_MARGIN, _FOOTER_TOP - 10, width - _MARGIN, _FOOTER_TOP - 10), _RULE)
    middle = (_FOOTER_TOP - 10 + height) // 2
    draw.text((_MARGIN, middle), RESEARCH_USE, _AMBER, font=_font(22), anchor="lm")
    window = f"Lung window {WINDOW_CENTER_HU:.0f} / {WINDOW_WIDTH_HU:.0f} HU"
    draw.text((width - _MARGIN, middle), window, _DIM, font=_font(17), anchor="rm")


def _write_legend(draw: ImageDraw.ImageDraw, segments: Sequence[Segment]) -> None:
    found = [segment for segment in segments if segment.volume_ml > 0]
    right = _CORONAL_BOX[2]
    if not found:
        draw.text((_MARGIN, _TEXT_TOP), "No segment was found.", _BRIGHT, font=_font(24))
        return
    shown = found[:_MOST_SEGMENTS]
    step = min(40, (_FOOTER_TOP - 20 - _TEXT_TOP) // (len(shown) + (len(found) > len(shown))))
    size = max(13, round(step * 0.6))
    font = _font(size)
    y = _TEXT_TOP
    for segment in shown:
        box = (_MARGIN, y + 3, _MARGIN + size, y + 3 + size)
        draw.rounded_rectangle(box, radius=4, fill=segment.color_rgb)
        draw.text((_MARGIN + size + 14, y), segment.label, _BRIGHT, font=font)
        volume = (
            f"{segment.volume_ml:,.0f} mL"
            if segment.volume_ml >= 10
            else (f"{segment.volume_ml:.2f} mL")
        )
        draw.text((right, y), volume, _BRIGHT, font=font, anchor="ra")
        y += step
    if len(found) > len(shown):
        draw.text((_MARGIN, y), f"and {len(found) - len(shown)} more", _DIM, font=font)


def _wrapped(text: str, font: _Font, width: int) -> list[str]:
    """Break a line between words so that each part is at most `width` pixels wide."""
    parts: list[str] = []
    current = ""
    for word in text.split():
        longer = f"{current} {word}".strip()
        if current and font.getlength(longer) > width:
            parts.append(current)
            current = word
        else:
            current = longer
    return [*parts, current] if current else parts


def _font(size: int) -> _Font:
    """Pillow's own scalable font: nothing to install."""
    return ImageFont.load_default(size=size)
