"""Label map over CT as pictures for people: one summary page, and key images with the same overlay.

Pages are 1024 x 1024 pixels: a 1-megapixel monitor shows them whole, one pixel a pixel.  No DICOM
objects here, and nothing of a patient: only what the caller passes is drawn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicomnode.model.findings import Classification, Segment
from dicomnode.results.evidence import RESEARCH_USE
from dicomnode.results.panels import (
    AMBER,
    BRIGHT,
    DIM,
    RULE,
    SHEET,
    WINDOW_CENTER_HU,
    WINDOW_WIDTH_HU,
    Color,
    Panel,
    font,
    mark_sides,
    paint_slice,
    wrapped,
    write_outlined,
)

PAGE_PIXELS: Final = 1024

_MARGIN: Final = 16
_GAP: Final = 4
_CORONAL_BOX: Final = (_MARGIN, _MARGIN, 508, 464)
_AXIAL_TOP, _AXIAL_WIDTH, _AXIAL_HEIGHT = 480, 328, 236
_AXIAL_COUNT: Final = 6
_KEY_AXIALS: Final = (1, 3, 4)
"""Which of the axial slices of the page are key images as well."""
_TEXT_LEFT, _TEXT_RIGHT, _TEXT_BOTTOM = 530, PAGE_PIXELS - _MARGIN, 464
_FOOTER_TOP: Final = 976
_KEY_BOX: Final = (_MARGIN, 56, PAGE_PIXELS - _MARGIN, 928)

_BODY_HU: Final = -300
_MOST_SEGMENTS: Final = 12
_MOST_BARS: Final = 8
_BAR: Final = (92, 148, 214)


class Pictures:
    """What is drawn of one analysis.

    Radiological convention throughout: the patient's left is on the right side of the picture.

    Parameters
    ----------
    voxels_hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Hounsfield units, axial: columns run to the patient's left, rows to the back, slices to
        the head.
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8
        0 is background, else the number of a segment or a value of `uppermost`.
    spacing_kji_mm : tuple of float
        Distance between slices, rows and columns, mm.
    segments : tuple of Segment
        For colors, legend and volumes.
    classifications : tuple of Classification
        For the answers, and for bars of scores and of measurements in percent.
    lines : tuple of str
        What else to say, the most important first.
    uppermost : numpy.ndarray, shape (256,), dtype uint8, optional
        The segment that is drawn for each value of `labels`, where segments overlap.

    Raises
    ------
    ValueError
        If the arrays do not fit each other, or hold no voxel.
    """

    def __init__(
        self,
        voxels_hu: NDArray[np.int16],
        labels: NDArray[np.uint8],
        *,
        spacing_kji_mm: tuple[float, float, float],
        segments: tuple[Segment, ...],
        classifications: tuple[Classification, ...] = (),
        lines: tuple[str, ...] = (),
        uppermost: NDArray[np.uint8] | None = None,
    ) -> None:
        if voxels_hu.shape != labels.shape or voxels_hu.ndim != 3 or voxels_hu.size == 0:
            raise ValueError(
                f"wanted two volumes of one shape, found {voxels_hu.shape} and {labels.shape}"
            )
        self._voxels_hu = voxels_hu
        self._labels = labels
        # Of the slices that are drawn alone: the whole volume would be copied for it.
        self._uppermost = np.arange(256, dtype=np.uint8) if uppermost is None else uppermost
        self._spacing_kji_mm = spacing_kji_mm
        self._segments = segments
        self._classifications = classifications
        self._lines = lines
        self._colors = {segment.number: segment.color_rgb for segment in segments}
        self._rows, self._columns = _body(voxels_hu)
        self._coronal_row = _coronal_row(labels, self._rows)
        self._axials = _axial_slices(labels)

    def summary_page(self) -> NDArray[np.uint8]:
        """Draw a coronal and six axial slices, volumes, bars and conclusions.

        Returns
        -------
        numpy.ndarray, shape (1024, 1024, 3), dtype uint8
            RGB.
        """
        sheet, draw = _blank()
        coronal = self._paint_coronal(sheet, _CORONAL_BOX)
        for place, k in enumerate(self._axials):
            left = _MARGIN + (place % 3) * (_AXIAL_WIDTH + _GAP)
            top = _AXIAL_TOP + (place // 3) * (_AXIAL_HEIGHT + _GAP)
            box = (left, top, left + _AXIAL_WIDTH, top + _AXIAL_HEIGHT)
            mark_sides(draw, self._paint_axial(sheet, k, box))
            write_outlined(draw, (left + 8, top + 16), str(place + 1), 20, anchor="lm")
        _mark_heights(draw, coronal, [1 - (k + 0.5) / len(self._voxels_hu) for k in self._axials])
        mark_sides(draw, coronal, part=0.95)
        _Column(draw).write(self._segments, self._classifications, self._lines)
        _write_footer(draw)
        return np.asarray(sheet)

    def key_images(self) -> Iterator[NDArray[np.uint8]]:
        """Draw the coronal slice and some axial ones, each as large as a page allows.

        Yields
        ------
        numpy.ndarray, shape (1024, 1024, 3), dtype uint8
            RGB.
        """
        yield self._key_image("Coronal", None)
        for place in _KEY_AXIALS:
            if place < len(self._axials):
                yield self._key_image(f"Axial {place + 1}", self._axials[place])

    def _key_image(self, title: str, k: int | None) -> NDArray[np.uint8]:
        sheet, draw = _blank()
        if k is None:
            panel = self._paint_coronal(sheet, _KEY_BOX)
        else:
            panel = self._paint_axial(sheet, k, _KEY_BOX)
        mark_sides(draw, panel, size=30)
        draw.text((_MARGIN, 28), title, BRIGHT, font=font(26), anchor="lm")
        x = 220
        for segment in [each for each in self._segments if each.volume_ml > 0][:_MOST_SEGMENTS]:
            width = 18 + 8 + round(font(18).getlength(segment.label))
            if x + width > PAGE_PIXELS - _MARGIN:
                break
            draw.rounded_rectangle((x, 19, x + 18, 37), radius=4, fill=segment.color_rgb)
            draw.text((x + 26, 28), segment.label, BRIGHT, font=font(18), anchor="lm")
            x += width + 24
        _write_footer(draw)
        return np.asarray(sheet)

    def _paint_coronal(self, sheet: Image.Image, box: tuple[int, int, int, int]) -> Panel:
        # Head on top: slices run upward.
        cut = (slice(None, None, -1), self._coronal_row, self._columns)
        spacing_k, _, spacing_i = self._spacing_kji_mm
        planes = (self._voxels_hu[cut], self._uppermost[self._labels[cut]])
        return paint_slice(sheet, planes, (spacing_k, spacing_i), box, self._colors)

    def _paint_axial(self, sheet: Image.Image, k: int, box: tuple[int, int, int, int]) -> Panel:
        cut = (k, self._rows, self._columns)
        planes = (self._voxels_hu[cut], self._uppermost[self._labels[cut]])
        return paint_slice(sheet, planes, self._spacing_kji_mm[1:], box, self._colors)


def encode_png(page: NDArray[np.uint8]) -> bytes:
    """Return a page as a PNG file; the same page gives the same bytes.

    Parameters
    ----------
    page : numpy.ndarray, shape (rows, columns, 3), dtype uint8
        RGB.
    """
    out = io.BytesIO()
    # A page is a megabyte or two whatever is done; at the usual level that takes half a second.
    Image.fromarray(page).save(out, "PNG", compress_level=3)
    return out.getvalue()


class _Column:
    """The text column of the summary page: written downward until it is full."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw
        self._y = _MARGIN

    def write(
        self,
        segments: Sequence[Segment],
        classifications: Sequence[Classification],
        lines: Sequence[str],
    ) -> None:
        for classification in classifications:
            text = f"{classification.question.meaning}: {classification.answer.meaning}"
            self._write(text, 25, BRIGHT, most=3)
        self._y += 6
        self._legend(segments)
        self._y += 6
        for name, value, part in _bars(classifications)[:_MOST_BARS]:
            self._bar(name, value, part)
        self._y += 6
        for line in lines:
            if not self._write(line, 18, DIM):
                break

    def _has_room(self, height: int) -> bool:
        return self._y + height <= _TEXT_BOTTOM

    def _write(self, text: str, size: int, color: Color, *, most: int = 20) -> bool:
        """Write a paragraph; say whether all of it had room."""
        letters, step = font(size), round(size * 1.3)
        for number, part in enumerate(wrapped(text, letters, _TEXT_RIGHT - _TEXT_LEFT)):
            if number == most or not self._has_room(2 * step):
                self._draw.text((_TEXT_LEFT, self._y), "...", color, font=letters)
                self._y += step
                return False
            self._draw.text((_TEXT_LEFT, self._y), part, color, font=letters)
            self._y += step
        self._y += 4
        return True

    def _legend(self, segments: Sequence[Segment]) -> None:
        found = [segment for segment in segments if segment.volume_ml > 0]
        if not found:
            self._write("No segment was found.", 22, BRIGHT)
            return
        shown = found[:_MOST_SEGMENTS]
        size = 22 if len(shown) <= 5 else 16
        step = round(size * 1.4)
        for segment in shown:
            box = (_TEXT_LEFT, self._y + 3, _TEXT_LEFT + size, self._y + 3 + size)
            self._draw.rounded_rectangle(box, radius=4, fill=segment.color_rgb)
            left = _TEXT_LEFT + size + 12
            volume = (
                f"{segment.volume_ml:,.0f} mL"
                if segment.volume_ml >= 10
                else f"{segment.volume_ml:.2f} mL"
            )
            room = _TEXT_RIGHT - left - round(font(size).getlength(volume)) - 16
            name = _shortened(segment.label, size, room)
            self._draw.text((left, self._y), name, BRIGHT, font=font(size))
            self._draw.text((_TEXT_RIGHT, self._y), volume, BRIGHT, font=font(size), anchor="ra")
            self._y += step
        if len(found) > len(shown):
            self._write(f"and {len(found) - len(shown)} more", 16, DIM)

    def _bar(self, name: str, value: str, part: float) -> None:
        """Draw a name, a value and a bar that is filled to `part` of its length."""
        if not self._has_room(36):
            return
        room = _TEXT_RIGHT - _TEXT_LEFT - round(font(17).getlength(value)) - 16
        self._draw.text((_TEXT_LEFT, self._y), _shortened(name, 17, room), BRIGHT, font=font(17))
        self._draw.text((_TEXT_RIGHT, self._y), value, BRIGHT, font=font(17), anchor="ra")
        top = self._y + 23
        self._draw.rectangle((_TEXT_LEFT, top, _TEXT_RIGHT, top + 8), fill=RULE)
        end = _TEXT_LEFT + round(part * (_TEXT_RIGHT - _TEXT_LEFT))
        if end > _TEXT_LEFT:
            self._draw.rectangle((_TEXT_LEFT, top, end, top + 8), fill=_BAR)
        self._y += 38


def _bars(classifications: Sequence[Classification]) -> list[tuple[str, str, float]]:
    """Return name, value and filled part of a bar for each score and share."""
    bars: list[tuple[str, str, float]] = []
    for each in classifications:
        percent = 100.0 if each.score_kind == "probability" else 1.0
        shares = [(name, score * percent) for name, score in each.scores]
        shares += [(m.name.meaning, m.value) for m in each.measurements if m.unit.value == "%"]
        for name, value in shares:
            text = f"{value:.1f} %"
            # A score that is given again as a measurement, under a longer name, is one bar.
            is_repeat = any(text == old and name.startswith(known) for known, old, _ in bars)
            if math.isfinite(value) and not is_repeat:
                bars.append((name, text, min(1.0, max(0.0, value / 100))))
    return bars


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
    counts = np.zeros(labels.shape[1], np.uint64)
    for plane in labels:
        # Counting along an axis, NumPy would widen every voxel to eight bytes.
        counts += np.minimum(plane, 1).sum(axis=1, dtype=np.uint32)
    return int(counts.argmax()) if counts.any() else (rows.start + rows.stop) // 2


def _axial_slices(labels: NDArray[np.uint8]) -> list[int]:
    """Slices spread over what is labeled, or over all, from the head down."""
    labeled = np.flatnonzero(labels.any(axis=(1, 2)))
    low, high = (int(labeled[0]), int(labeled[-1])) if labeled.size else (0, len(labels) - 1)
    parts = (np.arange(_AXIAL_COUNT) + 0.5) / _AXIAL_COUNT
    chosen = np.unique(np.round(low + parts * (high - low)).astype(int))
    return [int(k) for k in chosen[::-1]]


def _mark_heights(draw: ImageDraw.ImageDraw, coronal: Panel, parts: Sequence[float]) -> None:
    """Show on the coronal slice where the axial ones lie: ticks at both edges, numbered."""
    right = coronal.left + coronal.width - 1
    free_from = 0.0
    for number, part in enumerate(parts, start=1):
        y = coronal.top + part * coronal.height
        draw.line((coronal.left, y, coronal.left + 16, y), AMBER)
        draw.line((right - 16, y, right, y), AMBER)
        # In a thin volume the numbers would lie on each other.
        if y >= free_from:
            write_outlined(draw, (coronal.left + 21, y), str(number), 15, anchor="lm")
            free_from = y + 16


def _blank() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", (PAGE_PIXELS, PAGE_PIXELS), SHEET)
    return sheet, ImageDraw.Draw(sheet)


def _write_footer(draw: ImageDraw.ImageDraw) -> None:
    """Write the research-use line and the window at the bottom."""
    draw.line((_MARGIN, _FOOTER_TOP, PAGE_PIXELS - _MARGIN, _FOOTER_TOP), RULE)
    middle = (_FOOTER_TOP + PAGE_PIXELS) // 2
    draw.text((_MARGIN, middle), RESEARCH_USE, AMBER, font=font(24), anchor="lm")
    window = f"Lung window {WINDOW_CENTER_HU:.0f} / {WINDOW_WIDTH_HU:.0f} HU"
    draw.text((PAGE_PIXELS - _MARGIN, middle), window, DIM, font=font(17), anchor="rm")


def _shortened(text: str, size: int, width: int) -> str:
    """Cut a text so that it is at most `width` pixels wide."""
    letters = font(size)
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text.rstrip()}..."
