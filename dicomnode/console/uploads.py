"""Uploads: what a form or a body brings goes into a pipeline, each file with its outcome."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Literal

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from dicomnode.console.access import Person
from dicomnode.console.audit import Shown
from dicomnode.console.forgery import FIELD
from dicomnode.console.multipart import Came, FieldCame, FileBegan, FileData, read_form
from dicomnode.console.parts import Parts
from dicomnode.database.series_rows import find_instances
from dicomnode.pipeline.intake import Batch, Taken

MARGIN_BYTES: Final = 1 << 20
"""What a form has around its files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """What became of a file; `name` is as the sender called it."""

    name: str
    outcome: Literal["stored", "ignored", "refused"]
    words: str
    sop_instance_uid: str
    status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What became of an upload.  Everything `stored` is durable."""

    pipeline: str
    files: list[UploadedFile]
    series_instance_uids: list[str]
    stored: int
    ignored: int
    refused: int


@dataclass(slots=True)
class _Work:
    """An upload under way."""

    pipeline: str
    batch: Batch
    files: list[UploadedFile] = field(default_factory=list)


class Uploads:
    """Takes uploads.

    Parameters
    ----------
    parts : Parts
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.most_bytes = parts.config.receive.max_instance_bytes

    async def take_form(
        self, request: Request, person: Person, *, pipeline: str | None = None
    ) -> Upload:
        """Take the files of a form; its fields come before them.

        Parameters
        ----------
        pipeline : str, optional
            Where it is not a field of the form.

        Raises
        ------
        HTTPException
            400 for what is no form, 403 without its token, 404 for an unknown pipeline.
        """
        form = _Form(self, request, person, pipeline)
        try:
            async for came in read_form(request):
                await form.take(came)
            form.is_whole = True
        finally:
            await form.close()
        if form.work is None:
            raise HTTPException(400, "the form brought no file")
        return await run_in_threadpool(self.finish, request, person, form.work)

    async def take_body(self, request: Request, person: Person, *, pipeline: str) -> Upload:
        """Take one DICOM file that is the body of a request.

        Raises
        ------
        HTTPException
            404 for an unknown pipeline.
        """
        self.check_token(request, person, None)
        work = await run_in_threadpool(self.open, request, pipeline)
        written, is_whole = 0, False
        with self.room() as file:
            try:
                async for chunk in request.stream():
                    written += len(chunk)
                    if written <= self.most_bytes:
                        file.write(chunk)
                await self.store(work, file, "body", written)
                is_whole = True
            finally:
                await run_in_threadpool(work.batch.close, is_whole=is_whole)
        return await run_in_threadpool(self.finish, request, person, work)

    def room(self) -> BinaryIO:
        """Return a file without a name, on the disk that it will be stored on."""
        room: BinaryIO = tempfile.TemporaryFile(dir=self._parts.config.data_dir)  # noqa: SIM115
        return room

    def check_token(self, request: Request, person: Person, token: str | None) -> None:
        """Check that a form is one of ours."""
        sent = request.headers.get("x-form-token") or token
        self._parts.access.check_form(request, person, sent)

    def open(self, request: Request, pipeline: str) -> _Work:
        """Begin an upload."""
        if pipeline not in self._parts.setups:
            known = ", ".join(sorted(self._parts.setups))
            raise HTTPException(404, f"there is no such pipeline; known are {known}")
        host = self._parts.access.client(request).address
        return _Work(pipeline, self._parts.intake.open(pipeline, host=host))

    async def store(self, work: _Work, file: BinaryIO, name: str, written: int) -> None:
        """Store a file that has come whole, and note what became of it."""
        if written > self.most_bytes:
            words = f"wanted at most {self.most_bytes} bytes, found more"
            taken = Taken(outcome="refused", words=words)
        else:
            taken = await run_in_threadpool(work.batch.take, file)
        work.files.append(
            UploadedFile(
                name=_printable(name),
                outcome=taken.outcome,
                words=taken.words,
                sop_instance_uid=taken.sop_instance_uid,
                status=taken.status,
            )
        )

    def finish(self, request: Request, person: Person, work: _Work) -> Upload:
        """Put an upload on record, and return what became of it."""
        parts = self._parts
        stored = [each.sop_instance_uid for each in work.files if each.outcome == "stored"]
        parts.flush()
        with parts.database.begin() as transaction:
            refs = find_instances(transaction, work.pipeline, stored).values()
        series = {each.series_instance_uid: each for each in refs}
        parts.audit.imported(
            request,
            person,
            [
                Shown(
                    study_instance_uid=ref.study_instance_uid,
                    series_instance_uid=uid,
                    sop_class_uids=[ref.sop_class_uid],
                    instance_count=sum(each.series_instance_uid == uid for each in refs),
                    patient=parts.patients.read(work.pipeline, uid),
                )
                for uid, ref in series.items()
            ],
            what=work.pipeline,
        )
        outcomes = [each.outcome for each in work.files]
        return Upload(
            pipeline=work.pipeline,
            files=work.files,
            series_instance_uids=sorted(series),
            stored=outcomes.count("stored"),
            ignored=outcomes.count("ignored"),
            refused=outcomes.count("refused"),
        )


class _Form:
    """A form on its way: which fields have come, which file is being written."""

    def __init__(
        self, uploads: Uploads, request: Request, person: Person, pipeline: str | None
    ) -> None:
        self._uploads = uploads
        self._request = request
        self._person = person
        self._pipeline = pipeline
        self._fields: dict[str, str] = {}
        self._file: BinaryIO | None = None
        self._name = ""
        self._written = 0
        self.work: _Work | None = None
        self.is_whole = False

    async def take(self, came: Came) -> None:
        """Take what came next."""
        if isinstance(came, FieldCame):
            self._fields[came.name] = came.value
        elif isinstance(came, FileBegan):
            await self._begin(came.filename)
        elif isinstance(came, FileData):
            self._write(came.content)
        else:
            await self._end()

    async def close(self) -> None:
        """End the upload, whole or not."""
        if self._file is not None:
            self._file.close()
        if self.work is not None:
            await run_in_threadpool(self.work.batch.close, is_whole=self.is_whole)

    async def _begin(self, name: str) -> None:
        if self.work is None:
            self._uploads.check_token(self._request, self._person, self._fields.get(FIELD))
            wanted = self._pipeline or self._fields.get("pipeline", "")
            self.work = await run_in_threadpool(self._uploads.open, self._request, wanted)
        self._name, self._written = name, 0
        self._file = self._uploads.room()

    def _write(self, content: bytes) -> None:
        self._written += len(content)
        if self._file is not None and self._written <= self._uploads.most_bytes:
            self._file.write(content)

    async def _end(self) -> None:
        file, self._file = self._file, None
        if file is None or self.work is None:
            return
        with file:
            # A browser sends one file without a name where none was chosen.
            if self._name or self._written:
                await self._uploads.store(self.work, file, self._name, self._written)


def _printable(name: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)[
        -200:
    ]
