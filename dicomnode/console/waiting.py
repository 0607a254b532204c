"""How requests get at a job and its volume: waiting for it without holding a thread."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any, Final

from fastapi import HTTPException
from fastapi.concurrency import run_in_threadpool

from dicomnode.console.parts import Parts
from dicomnode.console.problems import MEDIA_TYPE, Problem
from dicomnode.console.volumes import NoPicture, Scene, Volumes
from dicomnode.database.job_rows import JobRow, get_job

LOAD_SECONDS: Final = 60.0
"""How long a request waits for a volume before it is told to come again."""

PICTURE_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "description": words,
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
    for status, words in (
        (404, "There is no such job or slice, or its series makes no volume."),
        (410, "What it was made of has been removed after its time."),
        (503, "The volume is still being assembled, or the database is away; come again."),
    )
}


def find_job(parts: Parts, job_id: str) -> JobRow:
    """Return a job, or answer that there is none."""
    with parts.database.begin() as transaction:
        job = get_job(transaction, job_id)
    if job is None:
        raise HTTPException(404, "there is no such job")
    return job


async def await_scene(volumes: Volumes, job: JobRow) -> Scene:
    """Wait for a job's scene without holding a thread, or answer why there is none."""
    coming: Future[Scene] = await run_in_threadpool(volumes.request, job)
    try:
        # Shielded: who leaves must not take the volume from those who wait for it too.
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(coming)), LOAD_SECONDS)
    except NoPicture as error:
        raise HTTPException(error.status, error.sentence) from None
    except TimeoutError:
        raise HTTPException(
            503,
            "The volume is still being assembled; try again in a moment.",
            headers={"Retry-After": "5"},
        ) from None
