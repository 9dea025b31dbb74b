"""Routes of the API for one type of job, and for presets."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool

from echomimic.apps.jobs.request import MEDIA_TYPES, JobType
from echomimic.apps.jobs.store import Job
from echomimic.apps.server.openapi import files_of, links_of, problems, request_body
from echomimic.apps.server.routes import AppState
from echomimic.apps.server.schemas import JobList, JobResource, PresetList, Problem, describe_job, not_ready
from echomimic.apps.server.streams import event_response, live_response
from echomimic.apps.server.uploads import MAX_FIELD, Upload, check_files
from echomimic.apps.server.validation import parse_request, preset_status
from echomimic.presets import PRESETS

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")
_IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=100,
        pattern="^[!-~]+$",
        description="your own name of this request: sent again with the same files and fields, it makes no second job",
    ),
]


def make_jobs_router(job_type: JobType, state: AppState) -> APIRouter:
    """The routes of one type of job."""
    router = APIRouter(prefix=f"/v1/{job_type.plural}", tags=[job_type.plural])
    _add_collection(router, job_type, state)
    _add_job(router, job_type, state)
    _add_files(router, job_type, state)
    return router


def make_presets_router() -> APIRouter:
    """The route that lists the presets and what each of them lacks."""
    router = APIRouter(prefix="/v1/presets", tags=["presets"])

    @router.get("", operation_id="list_presets", summary="The presets, and whether each can run on this server")
    def presets() -> PresetList:
        return PresetList(items=[preset_status(name) for name in PRESETS])

    return router


async def submit_form(
    request: Request,
    job_type: JobType,
    state: AppState,
    key: str | None,
    names: tuple[str, ...],
    translate: Callable[[Upload], Mapping[str, str]] = lambda upload: upload.fields,
    max_field: int = MAX_FIELD,
) -> Job:
    """Receive a form and queue the job that it describes. Raises Problem, JobError.

    `names` are the form's file fields; `translate` renames the uploaded files to those of the job type and returns the
    form's other fields.
    """
    queue, owner = state.queue, request.state.owner
    await run_in_threadpool(queue.check_room, (owner, job_type.name, key))
    queue.prewarm()
    upload = await state.uploads.receive(request, names, max_field)
    try:
        fields = await run_in_threadpool(translate, upload)
        variant = await run_in_threadpool(check_files, job_type, upload.files)
        asked = await run_in_threadpool(parse_request, job_type, variant, fields, state.settings.max_seconds)
        return await queue.submit(job_type, owner, asked, upload.folder, key, upload.content(asked))
    finally:
        await state.uploads.discard(upload)


def _add_collection(router: APIRouter, job_type: JobType, state: AppState) -> None:
    @router.post(
        "",
        status_code=202,
        operation_id=f"make_{job_type.name}",
        summary=f"Make {job_type.summary}",
        openapi_extra={"requestBody": request_body(job_type)},
        responses=links_of(job_type) | problems(400, 403, 408, 409, 410, 413, 415, 422, 429, 503, 507),
    )
    async def submit(request: Request, response: Response, key: _IdempotencyKey = None) -> JobResource:
        job = await submit_form(request, job_type, state, key, job_type.files)
        described = await run_in_threadpool(describe_job, job, state.queue)
        response.headers["Location"] = described.links["self"]
        return described

    @router.get(
        "", operation_id=f"list_{job_type.plural}", summary="Your jobs, the newest first", responses=problems(422)
    )
    def newest(request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> JobList:
        jobs = state.queue.store.newest(request.state.owner, job_type.name, limit)
        return JobList(items=[describe_job(job, state.queue) for job in jobs])


def _add_job(router: APIRouter, job_type: JobType, state: AppState) -> None:
    queue = state.queue

    @router.get("/{id}", operation_id=f"get_{job_type.name}", summary="One job", responses=problems(404, 410))
    def get(request: Request, id: str) -> JobResource:  # noqa: A002 - the name in the address
        return describe_job(queue.find(job_type, request.state.owner, id), queue)

    @router.post(
        "/{id}/cancel",
        operation_id=f"cancel_{job_type.name}",
        summary="Cancel a job",
        responses=problems(404, 409, 410, 507),
    )
    async def cancel(request: Request, id: str) -> JobResource:  # noqa: A002
        job = await queue.cancel(job_type, request.state.owner, id)
        return await run_in_threadpool(describe_job, job, queue)

    @router.delete(
        "/{id}",
        status_code=204,
        operation_id=f"delete_{job_type.name}",
        summary="Delete a job and its files; cancel it first if it runs",
        responses=problems(404, 410),
    )
    async def delete(request: Request, id: str) -> None:  # noqa: A002
        await queue.delete(job_type, request.state.owner, id)

    @router.get(
        "/{id}/events",
        operation_id=f"follow_{job_type.name}",
        summary="Server-sent events: job, progress, preview, and a heartbeat every two seconds",
        response_class=Response,
        responses=problems(404, 410, 429) | {200: {"description": "events", "content": {"text/event-stream": {}}}},
    )
    async def events(request: Request, id: str) -> Response:  # noqa: A002
        return await event_response(queue, state.streams, lambda: queue.find(job_type, request.state.owner, id))


def _add_files(router: APIRouter, job_type: JobType, state: AppState) -> None:
    types = [MEDIA_TYPES[name].partition(";")[0] for name in job_type.formats]
    queue = state.queue

    def result(request: Request, id: str) -> Response:  # noqa: A002
        job = succeeded(queue.find(job_type, request.state.owner, id))
        return job_file(request, queue.files.result(job), job)

    def motion(request: Request, id: str) -> Response:  # noqa: A002
        job = succeeded(queue.find(job_type, request.state.owner, id))
        if not job.request["save_motion"]:
            raise Problem(409, "not_asked_for", "the motion was not kept; expected save_motion=true in the request")
        return job_file(request, queue.files.motion(job), job)

    async def live(request: Request, id: str) -> Response:  # noqa: A002
        job = await run_in_threadpool(queue.find, job_type, request.state.owner, id)
        if job.request["format"] != job_type.live_format:
            what = job_type.live_format
            raise Problem(409, "not_live", f"only {what} can be streamed; expected format={what}: use /result")
        return await live_response(queue, state.streams, lambda: queue.find(job_type, request.state.owner, id))

    def preview(request: Request, id: str) -> Response:  # noqa: A002
        picture = queue.events.progress(queue.find(job_type, request.state.owner, id).id).preview
        if not picture:
            raise Problem(409, "no_preview", "there is no preview now; expected a job that runs")
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    _add_file(router, "/{id}/result", result, f"{job_type.name}_result", "The finished file", _ranged(*types))
    if job_type.live_format:
        name, stream = job_type.name, files_of("video/mp4") | problems(404, 409, 410, 429)
        kept = _ranged("application/octet-stream")
        _add_file(router, "/{id}/motion", motion, f"{name}_motion", "The rendered motion (.npz)", kept)
        _add_file(router, "/{id}/live", live, f"{name}_live", "The video while it is made (fragmented mp4)", stream)
        picture = files_of("image/jpeg") | problems(404, 409, 410)
        _add_file(router, "/{id}/preview", preview, f"{name}_preview", "A recent frame, small", picture)


def _add_file(
    router: APIRouter,
    path: str,
    endpoint: Callable[..., Any],
    name: str,
    summary: str,
    responses: dict[int | str, dict[str, Any]],
) -> None:
    router.add_api_route(
        path, endpoint, operation_id=name, summary=summary, responses=responses, response_class=Response
    )
    if not path.endswith("live"):
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)


def _ranged(*types: str) -> dict[int | str, dict[str, Any]]:
    part = {**files_of(*types)[200], "description": "a part"}
    return files_of(*types) | problems(404, 409, 410, 416) | {206: part, 304: {"description": "unchanged"}}


def succeeded(job: Job) -> Job:
    """The job, which has a result. Raises Problem if it has none."""
    if job.state != "succeeded":
        raise not_ready(job)
    return job


def job_file(request: Request, path: Path, job: Job) -> Response:
    """A file of a job, whole or the single range that is asked for (RFC 9110). Raises Problem. Blocks."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        why = "this file was deleted; results are kept for a limited time: submit the job again"
        raise Problem(410, "deleted", why) from None
    tag = f'"{job.id}-{job.attempt}-{stat.st_size}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    _check_range(request, tag, stat.st_size)
    media_type = MEDIA_TYPES[path.suffix[1:]]
    return FileResponse(path, 200, headers, media_type, filename=f"{job.id}{path.suffix}", stat_result=stat)


def _check_range(request: Request, tag: str, size: int) -> None:
    """Remove a Range header that is to be ignored. Raises Problem if the range is outside of the file."""
    text = request.headers.get("range")
    found = _RANGE.fullmatch(text or "")
    if text is None:
        return
    if not found or request.headers.get("if-range", tag) != tag or (found[2] and int(found[2]) < int(found[1])):
        request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
    elif (found[1] and int(found[1]) >= size) or (found[3] and int(found[3]) == 0):
        why = f"the range {text} is outside of the file, which has {size} bytes"
        raise Problem(416, "range_outside", why, {"Content-Range": f"bytes */{size}"})
