"""Reading a form of files while it comes: one file at a time, none of it in memory.

The framework's own reading would put everything aside first, before anybody has asked who sends it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from fastapi import HTTPException, Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

_LONGEST_FIELD: Final = 1 << 12


@dataclass(frozen=True, slots=True)
class FieldCame:
    """A field of the form that is no file."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileBegan:
    """From here on the content of a file comes."""

    filename: str


@dataclass(frozen=True, slots=True)
class FileData:
    """More of that file."""

    content: bytes


@dataclass(frozen=True, slots=True)
class FileEnded:
    """That file is whole."""


Came = FieldCame | FileBegan | FileData | FileEnded


async def read_form(request: Request) -> AsyncIterator[Came]:
    """Yield what comes, in its order.

    Raises
    ------
    HTTPException
        400 if the body is no form, or ends before its end.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise HTTPException(400, "wanted a body of the type multipart/form-data")
    state = _State()
    try:
        parser = MultipartParser(boundary, state.callbacks())  # type: ignore[arg-type]
        async for chunk in request.stream():
            parser.write(chunk)
            for came in state.take():
                yield came
    except MultipartParseError as error:
        raise HTTPException(400, "the body is no form that can be read") from error
    if not state.is_over:
        raise HTTPException(400, "the body ended before the form did")


@dataclass(slots=True)
class _State:
    """What the parser has told so far."""

    came: list[Came] = field(default_factory=list)
    is_over: bool = False
    header: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    disposition: bytes = b""
    name: str = ""
    is_file: bool = False

    def take(self) -> list[Came]:
        came, self.came = self.came, []
        return came

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self.on_part_begin,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_headers_finished": self.on_headers_finished,
            "on_part_data": self.on_part_data,
            "on_part_end": self.on_part_end,
            "on_end": self.on_end,
        }

    def on_part_begin(self) -> None:
        self.disposition = b""
        self.header.clear()
        self.value.clear()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._add(self.header, data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._add(self.value, data[start:end])

    def on_header_end(self) -> None:
        if self.header.lower() == b"content-disposition":
            self.disposition = bytes(self.value)
        self.header.clear()
        self.value.clear()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self.disposition)
        self.name = options.get(b"name", b"").decode("utf-8", "replace")
        self.is_file = b"filename" in options
        if self.is_file:
            self.came.append(FileBegan(options[b"filename"].decode("utf-8", "replace")))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.is_file:
            self.came.append(FileData(data[start:end]))
        else:
            self._add(self.value, data[start:end])

    def on_part_end(self) -> None:
        if self.is_file:
            self.came.append(FileEnded())
        else:
            self.came.append(FieldCame(self.name, self.value.decode("utf-8", "replace")))

    def on_end(self) -> None:
        self.is_over = True

    @staticmethod
    def _add(into: bytearray, data: bytes) -> None:
        into += data
        if len(into) > _LONGEST_FIELD:
            raise HTTPException(400, "a field of the form is longer than any of ours")
