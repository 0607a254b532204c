"""REST API: the results of a job to take along, and its volume and segments as NIfTI."""

import re
from pathlib import PurePath
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response

from dicomnode.console.access import Person
from dicomnode.console.api_jobs import JobId
from dicomnode.console.looks import Looks
from dicomnode.console.parts import Parts
from dicomnode.console.problems import NOT_FOUND, RESPONSES
from dicomnode.console.reduction import reduce_geometry, reduce_labels, reduce_voxels, steps_for
from dicomnode.console.result_files import names_of, names_patient
from dicomnode.console.volumes import Scene, Volumes
from dicomnode.console.waiting import PICTURE_PROBLEMS, await_scene, find_job
from dicomnode.database.job_rows import JobRow
from dicomnode.results.nifti import encode_label_map, encode_volume
from dicomnode.results.outline import write_outline

_TYPES: Final = {
    ".dcm": "application/dicom",
    ".gz": "application/gzip",
    ".json": "application/json",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}
_SHOWN: Final = frozenset((".json", ".png", ".txt"))
"""What a browser shows; the rest it stores."""

_LEAST_SIDE, _MOST_SIDE = 16, 4096


MaxSide = Annotated[
    int | None,
    Query(
        ge=_LEAST_SIDE,
        le=_MOST_SIDE,
        description="Most voxels along an axis: blocks of voxels become one. Absent: all.",
    ),
]


def build_router(parts: Parts, volumes: Volumes, looks: Looks) -> APIRouter:
    """Build the routes of results below ``/api/v1``.

    Parameters
    ----------
    parts : Parts
    volumes : Volumes
        Shared with whoever else needs volumes.
    looks : Looks
        Told who takes what along.
    """
    router = APIRouter(
        prefix="/api/v1/jobs/{job_id}", tags=["results"], responses={**RESPONSES, **NOT_FOUND}
    )
    viewer = Annotated[Person, Depends(parts.access.viewer)]
    nifti_problems = {200: {"content": {"application/gzip": {}}}, **PICTURE_PROBLEMS}

    @router.get("/results")
    def results(job_id: JobId, person: viewer) -> list[str]:
        """List the files of a job's results that whoever asks may take."""
        job = find_job(parts, job_id)
        return [name for name in names_of(job) if person.sees_patients or not names_patient(name)]

    @router.get("/results/ct.nii.gz", response_class=Response, responses=nifti_problems)
    async def ct(
        job_id: JobId, request: Request, person: viewer, max_side: MaxSide = None
    ) -> Response:
        """Give the volume as NIfTI, turned so that its axes run to left, back and head.

        The slices of a tilted gantry and uneven slices are resampled to an even grid.
        """
        job, scene = await _scene(job_id)
        content = await run_in_threadpool(_encode, scene, "ct", max_side)
        await run_in_threadpool(looks.exported, request, person, job, "ct.nii.gz")
        return _attachment(content, job, "ct.nii.gz")

    @router.get("/results/segments.nii.gz", response_class=Response, responses=nifti_problems)
    async def segments(
        job_id: JobId, request: Request, person: viewer, max_side: MaxSide = None
    ) -> Response:
        """Give the segments as NIfTI on the grid of ``ct.nii.gz``.

        Values are Segment Numbers of the SEG; where several overlap, the uppermost.
        """
        job, scene = await _scene(job_id)
        content = await run_in_threadpool(_encode, scene, "segments", max_side)
        await run_in_threadpool(looks.exported, request, person, job, "segments.nii.gz")
        return _attachment(content, job, "segments.nii.gz")

    @router.get(
        "/results/{name}",
        response_class=Response,
        responses={
            **PICTURE_PROBLEMS,
            200: {"content": {each: {} for each in _TYPES.values()}},
        },
    )
    def result(
        job_id: JobId,
        name: Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9.-]{0,127}$")],
        request: Request,
        person: viewer,
    ) -> Response:
        """Give a result file: SEG, SR, secondary captures, picture, findings.

        ``sr.txt`` is the content of ``sr.dcm`` as text, and so for its variants.
        """
        job = find_job(parts, job_id)
        answer = _give(parts, job, name, person)
        looks.exported(request, person, job, name)
        return answer

    async def _scene(job_id: JobId) -> tuple[JobRow, Scene]:
        job = await run_in_threadpool(find_job, parts, job_id)
        return job, await await_scene(volumes, job)

    return router


def _give(parts: Parts, job: JobRow, name: str, person: Person) -> Response:
    """Return a result file, or answer why it is not given."""
    gone = HTTPException(410, "the results have been removed after their time")
    if name not in names_of(job):
        if not job.files and job.state in {"done", "superseded"}:
            raise gone
        raise HTTPException(404, f"this job has: {', '.join(names_of(job)) or 'no results'}")
    if names_patient(name) and not person.sees_patients:
        raise HTTPException(403, f"{name} names the patient, and you are shown no patients")
    path = parts.outbox.path(job.files[re.sub(r"\.txt$", ".dcm", name)])
    if not path.is_file():
        raise gone
    headers = {"Content-Disposition": _disposition(job, name)}
    if name.endswith(".txt"):
        return Response(write_outline(path), media_type=_TYPES[".txt"], headers=headers)
    return FileResponse(path, media_type=_TYPES[PurePath(name).suffix], headers=headers)


def _encode(scene: Scene, what: Literal["ct", "segments"], max_side: int | None) -> bytes:
    steps = (1, 1, 1) if max_side is None else steps_for(scene.geometry.shape_kji, max_side)
    if what == "segments":
        return encode_label_map(reduce_labels(scene.label_map, steps))
    geometry = reduce_geometry(scene.geometry, steps)
    return encode_volume(reduce_voxels(scene.voxels_hu, steps), geometry)


def _attachment(content: bytes, job: JobRow, name: str) -> Response:
    headers: dict[str, Any] = {"Content-Disposition": _disposition(job, name)}
    return Response(content, media_type=_TYPES[".gz"], headers=headers)


def _disposition(job: JobRow, name: str) -> str:
    """Name the file so that those of several series do not replace one another."""
    how = "inline" if PurePath(name).suffix in _SHOWN else "attachment"
    return f'{how}; filename="{job.series_instance_uid}-{job.revision}-{name}"'
