"""The addresses of one kind of job: thin, since `Service` does the work."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from echomimic.apps.jobs.job_types import MEDIA_TYPES, Kind
from echomimic.apps.jobs.service import Service
from echomimic.apps.jobs.store import Job
from echomimic.apps.server.openapi import events_of, files_of, links_of, problems, request_body
from echomimic.apps.server.problems import Problem, gone
from echomimic.apps.server.ranges import file_response
from echomimic.apps.server.schemas import Answer, Answers
from echomimic.apps.server.streams import event_response, live_response, not_ready
from echomimic.apps.server.uploads import take_in

_Ticket = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=100,
        pattern="^[!-~]+$",
        description="a name of your own for this request: sent again with the same one, it makes no second job",
    ),
]


def make_router(kind: Kind, service: Service) -> APIRouter:
    """All that can be asked about jobs of this kind."""
    router = APIRouter(prefix=f"/v1/{kind.plural}", tags=[kind.plural])
    _add_jobs(router, kind, service)
    _add_one_job(router, kind, service)
    _add_results(router, kind, service)
    return router


def _owner(request: Request) -> str:
    return str(request.state.owner)


def _looker(service: Service, kind: Kind, request: Request, name: str) -> Callable[[], Job]:
    return lambda: service.find(kind, _owner(request), name)


def _add_jobs(router: APIRouter, kind: Kind, service: Service) -> None:
    body = {"requestBody": request_body(kind, service.settings)}

    @router.post(
        "",
        status_code=202,
        operation_id=f"make_{kind.name}",
        summary=f"Make {kind.summary}",
        openapi_extra=body,
        responses=links_of(kind) | problems(400, 403, 408, 413, 415, 422, 429, 507),
    )
    async def submit(request: Request, response: Response, ticket: _Ticket = None) -> Answer:
        answer = await service.submit(
            kind, _owner(request), ticket, lambda folder: take_in(request, folder, kind, service.settings)
        )
        response.headers["Location"] = answer.links["self"]
        return answer

    @router.get("", operation_id=f"list_{kind.plural}", summary="Your jobs, the newest first", responses=problems(422))
    async def newest(request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Answers:
        jobs = await run_in_threadpool(service.store.newest, _owner(request), kind.name, limit)
        return Answers(items=[service.answer(job) for job in jobs])


def _add_one_job(router: APIRouter, kind: Kind, service: Service) -> None:
    @router.get("/{id}", operation_id=f"get_{kind.name}", summary="How far it is", responses=problems(404, 410))
    async def get(request: Request, id: str) -> Answer:  # noqa: A002 - the word of the addresses
        return service.answer(service.find(kind, _owner(request), id))

    @router.post(
        "/{id}/cancel",
        operation_id=f"cancel_{kind.name}",
        summary="Stop it",
        responses=problems(403, 404, 409, 410, 507),
    )
    async def cancel(request: Request, id: str) -> Answer:  # noqa: A002
        return await service.cancel(kind, _owner(request), id)

    @router.delete(
        "/{id}",
        status_code=204,
        operation_id=f"delete_{kind.name}",
        summary="Delete it and its files; stop it first where it runs",
        responses=problems(403, 404, 410, 507),
    )
    async def delete(request: Request, id: str) -> None:  # noqa: A002
        await service.delete(kind, _owner(request), id)

    @router.get(
        "/{id}/events",
        operation_id=f"follow_{kind.name}",
        summary="What happens, as server-sent events: job, progress, preview",
        response_class=Response,
        responses=events_of() | problems(404, 410, 429),
    )
    async def events(request: Request, id: str) -> Response:  # noqa: A002
        return await event_response(service, _looker(service, kind, request, id))


def _add_results(router: APIRouter, kind: Kind, service: Service) -> None:
    types = [MEDIA_TYPES[name].partition(";")[0] for name in kind.formats]

    async def result(request: Request, id: str) -> Response:  # noqa: A002
        job = _succeeded(service.find(kind, _owner(request), id))
        return file_response(request, service.folders.result(job), job)

    async def motion(request: Request, id: str) -> Response:  # noqa: A002
        job = _succeeded(service.find(kind, _owner(request), id))
        if not job.request["save_motion"]:
            raise Problem(409, "not_asked_for", "the motion was not kept; expected save_motion=true with the request")
        return file_response(request, service.folders.motion(job), job)

    async def live(request: Request, id: str) -> Response:  # noqa: A002
        job = service.find(kind, _owner(request), id)
        if job.request["format"] != kind.live:
            raise Problem(
                409, "not_live", f"only {kind.live} can be followed; expected format={kind.live}: use /result"
            )
        return await live_response(service, _looker(service, kind, request, id))

    async def preview(request: Request, id: str) -> Response:  # noqa: A002
        job = service.find(kind, _owner(request), id)
        picture = service.board.news(job.id).preview
        if not picture:
            raise Problem(409, "no_preview", "there is no preview now; expected a job that has run for a second")
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    ranged = files_of(*types) | problems(404, 409, 410, 416) | {206: _some(types), 304: {"description": "unchanged"}}
    _add_file(router, "/{id}/result", result, f"{kind.name}_result", "The finished file; ranges are understood", ranged)
    if kind.live:
        ranged = files_of("application/octet-stream") | problems(404, 409, 410, 416)
        ranged |= {206: _some(["application/octet-stream"]), 304: {"description": "unchanged"}}
        _add_file(router, "/{id}/motion", motion, f"{kind.name}_motion", "The motion that was rendered (.npz)", ranged)
        said = files_of("video/mp4") | problems(404, 409, 410, 429)
        _add_file(router, "/{id}/live", live, f"{kind.name}_live", "The video while it is made (fragmented mp4)", said)
        said = files_of("image/jpeg") | problems(404, 409, 410)
        _add_file(router, "/{id}/preview", preview, f"{kind.name}_preview", "A recent frame, small", said)


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


def _some(types: list[str]) -> dict[str, Any]:
    return {**files_of(*types)[200], "description": "a part"}


def _succeeded(job: Job) -> Job:
    """The job if its result is there; Problem where it is not, or not yet."""
    if job.deleted:
        raise gone()
    if job.state != "succeeded":
        raise not_ready(job)
    return job
