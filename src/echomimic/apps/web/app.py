"""The web application: the page in each language, and the editor beside it."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from echomimic.apps.web.desk import Desk
from echomimic.apps.web.editor import add_editor
from echomimic.apps.web.guard import Guard
from echomimic.apps.web.own_files import OwnFiles
from echomimic.apps.web.settings import Settings
from echomimic.apps.web.studio import Studio, load_libraries, warm_up
from echomimic.apps.web.words import LANGUAGES, preferred

_TIDY_EVERY = 30.0


def create_app(settings: Settings, warm: bool = True) -> FastAPI:
    """The application; `warm` loads in the background what the first video needs."""
    _quiet_gradio(settings)
    from echomimic.apps.web.page import STATIC, make_page, theme

    desk = Desk(Studio(settings))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if warm:
            load_libraries()
            threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
        tidying = asyncio.create_task(_tidy_for_ever(desk))
        yield
        tidying.cancel()
        desk.studio.close()

    app = FastAPI(title="EchoMimic", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_middleware(OwnFiles, folder=settings.folder / "uploads")
    app.add_middleware(Guard)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts) or ["*"])

    @app.get("/")
    def home(request: Request) -> Response:
        return RedirectResponse(f"/{preferred(request.headers.get('accept-language', ''))}/", 307)

    add_editor(app, desk)
    gr: Any = import_module("gradio")
    for language in LANGUAGES:
        gr.mount_gradio_app(
            app,
            make_page(desk, language),
            path=f"/{language}",
            theme=theme(),
            head='<script type="module" src="/editor/static/page.js"></script>',
            css_paths=[STATIC / "page.css"],
            footer_links=[],
            max_file_size=settings.max_upload,
            ssr_mode=False,
            allowed_paths=_shown_folders(settings),
        )
    return app


async def _tidy_for_ever(desk: Desk) -> None:
    """Delete what is old, also while nobody comes."""
    while True:
        await asyncio.sleep(_TIDY_EVERY)
        for tidy in (desk.tidy, desk.studio.jobs.tidy):
            await asyncio.to_thread(tidy)


def _shown_folders(settings: Settings) -> list[str]:
    """The folders whose files the page may show: the videos, and the example's."""
    from echomimic.apps.demo import demo_portrait, demo_voice

    return [str(settings.folder / "jobs"), str(demo_portrait()), str(demo_voice())]


def _quiet_gradio(settings: Settings) -> None:
    """Gradio reads these when it is loaded: no word to its makers, uploads where we delete them."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(settings.folder / "uploads")
