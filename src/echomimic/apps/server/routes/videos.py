"""`/v1/videos`: animations under the names and states that clients of hosted video generators know.

A video is a job of the type animation: both addresses show the same jobs.
"""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from echomimic.apps.jobs.request import ANIMATION
from echomimic.apps.jobs.store import Job
from echomimic.apps.server.openapi import problems
from echomimic.apps.server.routes import AppState
from echomimic.apps.server.routes.jobs import job_file, submit_form, succeeded
from echomimic.apps.server.schemas import Problem, describe_progress
from echomimic.apps.server.uploads import Upload
from echomimic.options import Options

_FILES = {
    "image_reference": "portrait",
    "input_reference": "portrait",
    "audio_reference": "speech",
    "portrait": "portrait",
    "speech": "speech",
}
_STATES = {"queued": "queued", "running": "in_progress", "succeeded": "completed"}
_OWN_FIELDS = ("model", "seconds", "size", "prompt", "user")
_MAX_PROMPT = 32_000


def make_videos_router(state: AppState) -> APIRouter:
    """The routes under /v1/videos; docs/integrations.md describes them."""
    router = APIRouter(prefix="/v1/videos", include_in_schema=False)
    queue = state.queue

    def find(request: Request, name: str) -> Job:
        return queue.find(ANIMATION, request.state.owner, name)

    def described(job: Job) -> dict[str, Any]:
        return describe_video(job, state)

    @router.post("", responses=problems(400, 413, 415, 422, 429, 507))
    async def create(request: Request) -> dict[str, Any]:
        key = request.headers.get("idempotency-key", "")[:100] or None
        job = await submit_form(request, ANIMATION, state, key, tuple(_FILES), _translate, max_field=_MAX_PROMPT)
        return await run_in_threadpool(described, job)

    @router.get("")
    def newest(
        request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str = "", order: str = "desc"
    ) -> dict[str, Any]:
        return _page(queue.store.newest(request.state.owner, ANIMATION.name, 1000), limit, after, order, described)

    @router.get("/{id}")
    def get(request: Request, id: str) -> dict[str, Any]:  # noqa: A002 - the name in the address
        return described(find(request, id))

    @router.get("/{id}/content")
    def content(request: Request, id: str, variant: str = "video") -> Response:  # noqa: A002
        if variant != "video":
            raise Problem(422, "option_invalid", f"variant is {variant[:40]!r}; expected video")
        job = succeeded(find(request, id))
        return job_file(request, queue.files.result(job), job)

    @router.delete("/{id}")
    async def delete(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        await queue.delete(ANIMATION, request.state.owner, id)
        return {"id": id, "object": "video.deleted", "deleted": True}

    return router


def _translate(upload: Upload) -> dict[str, str]:
    """Give the files of an upload the names of an animation's; returns its fields. Raises Problem. Blocks."""
    _rename_files(upload)
    return read_fields(upload.fields)


def read_fields(fields: dict[str, str]) -> dict[str, str]:
    """The fields of an animation. Raises Problem. `prompt` and `user` have no meaning for a voice and are ignored."""
    own = {name: text for name, text in fields.items() if name not in _OWN_FIELDS}
    own["preset"] = fields.get("model", own.get("preset", "auto"))
    if "size" in fields:
        own["size"] = str(_longer_side(fields["size"]))
    if "seconds" in fields:
        fps = float(own["fps"]) if own.get("fps", "").replace(".", "", 1).isdecimal() else Options().fps
        own["frames"] = str(max(1, round(_seconds(fields["seconds"]) * fps)))
    return own


def _longer_side(text: str) -> int:
    """The longer side of `720x1280`, or of `720`: a video keeps the portrait's own aspect ratio."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and len(side) < 6 for side in sides):
        raise Problem(422, "option_invalid", f"size is {text[:40]!r}; expected WIDTHxHEIGHT in pixels: 720x1280")
    return max(map(int, sides))


def _seconds(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal() or len(text) > 9 or float(text) <= 0:
        raise Problem(422, "option_invalid", f"seconds is {text[:40]!r}; expected a number above 0")
    return float(text)


def _rename_files(upload: Upload) -> None:
    """Give the files of an upload the names of an animation's. Raises Problem if a file is given twice. Blocks."""
    for name in list(upload.files):
        own = _FILES[name]
        if own == name:
            continue
        if own in upload.files:
            raise Problem(422, "repeated_field", f"field {name} is given under two names; expected one")
        upload.files[own] = upload.files.pop(name).rename(Path(upload.folder) / own)
        upload.digests[own] = upload.digests.pop(name)


def describe_video(job: Job, state: AppState) -> dict[str, Any]:
    """A job as a video resource. Blocks."""
    status, options = _STATES.get(job.state, "failed"), job.request.get("options", {})
    result = job.result if status == "completed" else {}
    error = None
    if status == "failed":
        error = {
            "code": job.error.get("code", job.state),
            "message": job.error.get("detail", f"the job is {job.state}"),
        }
    expires = job.finished + state.queue.settings.keep_seconds if job.finished else None
    return {
        "id": job.id,
        "object": "video",
        "model": job.request.get("preset", "auto"),
        "status": status,
        "progress": round(100 * describe_progress(job, state.queue.events).share),
        "created_at": int(job.created),
        "completed_at": int(job.finished) if result and job.finished else None,
        "expires_at": None if expires is None else int(expires),
        "seconds": str(result["seconds"]) if "seconds" in result else _asked_seconds(options),
        "size": f"{result['width']}x{result['height']}" if "width" in result else str(options.get("size", "auto")),
        "seed": options.get("seed", 0),
        "error": error,
    }


def _asked_seconds(options: dict[str, Any]) -> str:
    frames = options.get("frames")
    return f"{frames / float(options.get('fps', Options().fps)):g}" if frames else "auto"


def _page(jobs: list[Job], limit: int, after: str, order: str, described: Any) -> dict[str, Any]:
    """A page of the list that follows the job `after`."""
    jobs = jobs if order != "asc" else jobs[::-1]
    places = [number for number, job in enumerate(jobs) if job.id == after]
    rest = jobs[places[0] + 1 :] if places else jobs
    data = [described(job) for job in rest[:limit]]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, "has_more": len(rest) > limit, **ends}
