"""The picture of a job: pages with slices and in three dimensions, and the slices themselves.

All works without scripts but the page in three dimensions; ``static/viewer.js`` makes it pleasant.
"""

import json
from dataclasses import asdict
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field

from dicomnode.console.access import Person
from dicomnode.console.api_jobs import JobId
from dicomnode.console.findings_table import FindingsTable, tabulate
from dicomnode.console.looks import Looks
from dicomnode.console.parts import Parts
from dicomnode.console.problems import RESPONSES
from dicomnode.console.result_files import describe_files, names_patient
from dicomnode.console.slices import (
    DEFAULT_OPACITY,
    PLANES,
    WINDOWS,
    PlaneFacts,
    PlaneName,
    WindowName,
    describe_plane,
    draw_slice,
    encode_slice,
)
from dicomnode.console.view_state import ViewState, most_telling, parse_segments
from dicomnode.console.volumes import Scene, Volumes
from dicomnode.console.waiting import PICTURE_PROBLEMS, await_scene, find_job
from dicomnode.database.job_rows import JobRow
from dicomnode.pipeline.objects import SUMMARY_FILE

_WITH_NIIVUE: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Content Security Policy of the one page that runs NiiVue, which styles its canvas itself."""


class PlaneDescription(BaseModel):
    """How the slices of a plane look and lie."""

    name: PlaneName
    count: int = Field(description="Slices, counted from 0: at feet, front or right.")
    columns: int
    rows: int
    width: int = Field(description="Of the picture, pixels.")
    height: int
    left: str = Field(description="Direction in the patient at this edge: R, L, A, P, H, F.")
    right: str
    top: str
    bottom: str
    axis: str = Field(description="Of LPS patient space that slices run along.")
    first_mm: float = Field(description="Where the center of slice 0 lies on that axis.")
    step_mm: float
    is_slanted: bool = Field(description="Parallel to no plane of patient space.")


class SegmentDescription(BaseModel):
    """A segment, as it is shown."""

    number: int
    label: str
    color_rgb: tuple[int, int, int]
    fullest: dict[str, int] = Field(description="By plane, the slice that shows most of it.")


class Slices(BaseModel):
    """What can be seen of a job."""

    planes: list[PlaneDescription]
    segments: list[SegmentDescription]
    windows: dict[str, tuple[float, float]] = Field(description="Center and width, HU.")
    is_resampled: bool = Field(description="Uneven or tilted slices, shown on an even grid.")
    notes: list[str]


def build_router(parts: Parts, volumes: Volumes, looks: Looks) -> APIRouter:
    """Build the pages of a job's picture, and its slices below ``/api/v1``.

    Parameters
    ----------
    parts : Parts
    volumes : Volumes
        Shared with whoever else needs volumes.
    looks : Looks
        Told who looks at what.
    """
    router = APIRouter(tags=["jobs"], responses=RESPONSES)
    pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    viewer = Annotated[Person, Depends(parts.access.viewer)]

    @router.get(
        "/api/v1/jobs/{job_id}/slices",
        dependencies=[Depends(parts.access.viewer)],
        responses=PICTURE_PROBLEMS,
    )
    async def slices(job_id: JobId) -> Slices:
        """Say which slices and segments there are to be seen of a job."""
        scene = await await_scene(volumes, await run_in_threadpool(find_job, parts, job_id))
        return _describe(scene)

    @router.get(
        "/api/v1/jobs/{job_id}/slices/{plane}/{index}.png",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}, **PICTURE_PROBLEMS},
    )
    async def slice_png(
        job_id: JobId,
        plane: PlaneName,
        index: Annotated[int, Path(ge=0, le=100_000)],
        request: Request,
        person: viewer,
        window: WindowName = "lung",
        segments: Annotated[
            str, Query(pattern=r"^(all|none|\d{1,3}(,\d{1,3})*)$", max_length=1100)
        ] = "all",
        opacity: Annotated[int, Query(ge=0, le=100)] = round(100 * DEFAULT_OPACITY),
    ) -> Response:
        """Draw a slice: radiological convention, true proportions, nothing of a patient but voxels.

        Slices are counted from 0, toward head, back and left.
        """
        job = await run_in_threadpool(find_job, parts, job_id)
        scene = await await_scene(volumes, job)

        def draw() -> bytes:
            looks.turned(request, person, job)
            image = draw_slice(
                scene,
                plane,
                index,
                window=WINDOWS[window],
                segments=parse_segments([segments]),
                opacity=opacity / 100,
            )
            return encode_slice(image)

        try:
            content = await run_in_threadpool(draw)
        except IndexError as error:
            raise HTTPException(404, f"there is no such slice: {error}") from None
        return Response(content, media_type="image/png")

    @pages.get("/jobs/{job_id}/view")
    async def view(job_id: JobId, request: Request, person: viewer) -> Response:
        job = await run_in_threadpool(find_job, parts, job_id)
        context = await run_in_threadpool(_about, parts, job, person)
        try:
            scene = await await_scene(volumes, job)
        except HTTPException as error:
            is_coming = error.status_code == 503
            context |= {"scene": None, "why_not": error.detail, "is_coming": is_coming}
            return parts.pages.render(
                request, "viewer.html", person, status=error.status_code, **context
            )
        await run_in_threadpool(looks.opened, request, person, job, "images")
        query = {key: request.query_params.getlist(key) for key in request.query_params}
        state = ViewState.parse(query, scene)
        context |= {"is_coming": False, **_to_be_seen(scene, state)}
        return parts.pages.render(request, "viewer.html", person, **context)

    @pages.get("/jobs/{job_id}/view/3d")
    async def view_3d(job_id: JobId, request: Request, person: viewer) -> Response:
        job = await run_in_threadpool(find_job, parts, job_id)
        context = await run_in_threadpool(_about, parts, job, person)
        scene = await await_scene(volumes, job)
        await run_in_threadpool(looks.opened, request, person, job, "images")
        segments = [
            {
                "number": each.number,
                "label": each.label,
                "rgb": each.color_rgb,
                "abnormal": each.is_abnormal,
            }
            for each in scene.segments
        ]
        answer = parts.pages.render(
            request,
            "viewer_3d.html",
            person,
            **(context | {"scene": scene}),
            segments_json=json.dumps(segments),
            place_json=json.dumps(place_ras(scene)),
        )
        answer.headers["Content-Security-Policy"] = _WITH_NIIVUE
        return answer

    @pages.get("/jobs/{job_id}/findings")
    def findings(job_id: JobId, request: Request, person: viewer) -> Response:
        job = find_job(parts, job_id)
        looks.opened(request, person, job, "report")
        return parts.pages.render(
            request, "viewer_findings.html", person, **_about(parts, job, person)
        )

    router.include_router(pages)
    return router


def read_findings(parts: Parts, job: JobRow) -> FindingsTable | None:
    """Return what was found, or None if there are no findings, or none any more."""
    if SUMMARY_FILE not in job.files:
        return None
    try:
        content = parts.outbox.path(job.files[SUMMARY_FILE]).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None  # removed between the row and the file
    return tabulate(json.loads(content))


def _about(parts: Parts, job: JobRow, person: Person) -> dict[str, Any]:
    """Return what every page on a job's results shows."""
    files = describe_files(job)
    given = [each for each in files if person.sees_patients or not names_patient(each[0])]
    return {
        "job": job,
        "findings": read_findings(parts, job),
        "results_gone": not job.files and job.state in {"done", "superseded"},
        # What pages on a scene replace.
        "scene": None,
        "is_coming": False,
        "jumps": {},
        "files": given,
        "hides_files": len(given) < len(files),
    }


def place_ras(scene: Scene) -> list[float]:
    """Return where the slices lie that are shown first, in RAS millimeters as NIfTI has them."""
    slices = most_telling(scene)
    place = np.array([slices["sagittal"], slices["coronal"], slices["axial"]], dtype=float)
    left, back, up = scene.geometry.to_lps(place)
    return [-float(left), -float(back), float(up)]


def _describe(scene: Scene) -> Slices:
    geometry = scene.geometry
    order: tuple[PlaneName, ...] = ("axial", "coronal", "sagittal")
    return Slices(
        planes=[PlaneDescription(**asdict(describe_plane(geometry, name))) for name in order],
        segments=[
            SegmentDescription(
                number=each.number,
                label=each.label,
                color_rgb=each.color_rgb,
                fullest=dict(zip(order, scene.fullest[each.number], strict=True))
                if each.number in scene.fullest
                else {},
            )
            for each in scene.segments
        ],
        windows=dict(WINDOWS),
        is_resampled=scene.is_resampled,
        notes=list(scene.notes),
    )


def _to_be_seen(scene: Scene, state: ViewState) -> dict[str, Any]:
    """Return what the page of slices shows beside the findings."""
    planes: dict[PlaneName, PlaneFacts] = {
        name: describe_plane(scene.geometry, name) for name in PLANES
    }
    return {
        "scene": scene,
        "state": state,
        "planes": planes,
        "windows": WINDOWS,
        "jumps": {
            number: state.at(dict(zip(PLANES, place, strict=True)))
            for number, place in scene.fullest.items()
        },
    }
