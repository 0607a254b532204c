"""The first page: the live list of series and what became of each, chosen and searched."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from dicomnode.console.access import Person
from dicomnode.console.audit import Shown
from dicomnode.console.audit_message import Patient
from dicomnode.console.parts import Parts
from dicomnode.database.overview_rows import (
    SHOWN_STATES,
    Choice,
    OverviewRow,
    list_overview,
    list_senders,
)

_PAGE = 50


def build_router(parts: Parts) -> APIRouter:
    """Build the route ``/``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/", response_class=HTMLResponse)
    def overview(
        request: Request,
        person: Annotated[Person, Depends(parts.access.viewer)],
        q: Annotated[str, Query(max_length=200)] = "",
        state: str = "",
        pipeline: str = "",
        sender: str = "",
        hours: Annotated[str, Query(max_length=10)] = "",
        page: Annotated[int, Query(ge=1, le=100_000)] = 1,
        patients: str = "",
    ) -> Response:
        choice = Choice(
            state=state if state in SHOWN_STATES else None,
            attention=state == "attention",
            pipeline=pipeline or None,
            calling_ae_title=sender or None,
            text=q.strip() or None,
            since=_since(hours),
        )
        with parts.database.begin() as transaction:
            rows = list_overview(transaction, choice, limit=_PAGE + 1, offset=_PAGE * (page - 1))
            senders = list_senders(transaction)
        has_more, rows = len(rows) > _PAGE, rows[:_PAGE]
        named = {"q": q, "state": state, "pipeline": pipeline, "sender": sender, "hours": hours}
        chosen = urlencode({name: value for name, value in named.items() if value})
        shows_patients = person.sees_patients and patients == "show"
        return parts.pages.render(
            request,
            "overview.html",
            person,
            components=parts.probes.readiness(),
            rows=rows,
            whose=_whose(request, person, rows) if shows_patients else None,
            chosen=named,
            is_chosen=bool(chosen),
            base=f"/?{chosen}&" if chosen else "/?",
            page=page,
            has_more=has_more,
            states=SHOWN_STATES,
            pipelines=sorted(parts.setups),
            senders=senders,
        )

    def _whose(
        request: Request, person: Person, rows: tuple[OverviewRow, ...]
    ) -> dict[tuple[str, str], Patient]:
        """Read the patients of a page, and put on record that they were shown."""
        found: dict[tuple[str, str], Patient] = {}
        shown = []
        for row in rows:
            key = (row.series.pipeline, row.series.series_instance_uid)
            patient = parts.patients.read(*key)
            if patient is not None:
                found[key] = patient
                shown.append(
                    Shown(
                        study_instance_uid=row.series.study_instance_uid,
                        series_instance_uid=row.series.series_instance_uid,
                        sop_class_uids=() if row.sop_class_uid is None else (row.sop_class_uid,),
                        instance_count=row.series.instance_count,
                        patient=patient,
                    )
                )
        if shown:
            parts.audit.viewed(request, person, shown)
        return found

    return router


def _since(hours: str) -> datetime | None:
    try:
        return datetime.now(UTC) - timedelta(hours=float(hours)) if hours else None
    except (ValueError, OverflowError):
        return None
