"""What the page's controls do: read what was entered, call the queue, and say what happens."""

import asyncio
import json
from collections.abc import AsyncIterator
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from echomimic.apps.option_specs import OPTION_SPECS
from echomimic.apps.web import show
from echomimic.apps.web.advice import SaidError, trouble_of
from echomimic.apps.web.desk import Desk
from echomimic.apps.web.fields import given_options
from echomimic.apps.web.jobs import Job, Order, in_one_line
from echomimic.apps.web.qualities import quality_options
from echomimic.apps.web.studio import Studio
from echomimic.apps.web.words import Language, say
from echomimic.errors import EchoMimicError
from echomimic.options import Options, make_options
from echomimic.presets import resolve_preset

_TICK = 0.2
Watched = tuple[Any, ...]
"""What `generate` and `resume` give: status, video, the two buttons, the job's id."""


class Wish:
    """What was entered on the page."""

    def __init__(self, studio: Studio, language: Language, names: tuple[str, ...], values: tuple[Any, ...]) -> None:
        portrait, voice, self.quality, preset, seed, *options = values
        self.preset = resolve_preset(preset)[0]
        self._studio, self._language = studio, language
        self._portrait, self._voice = portrait, voice
        self._values = dict(zip(names, options, strict=True)) | {"seed": int(seed or 0)}

    @property
    def portrait(self) -> Path | None:
        """The portrait, where there is one yet."""
        return self._here(self._portrait)

    @property
    def voice(self) -> Path | None:
        """The voice, where there is one yet."""
        return self._here(self._voice)

    def _here(self, name: str | None) -> Path | None:
        """An uploaded file; an error where it was deleted, because it is old or the server was started anew."""
        if name and not Path(name).is_file():
            raise SaidError(say(self._language, "upload_gone", name=Path(name).name))
        return Path(name) if name else None

    def by_hand(self) -> dict[str, object]:
        """The options that were set by hand."""
        return given_options(self._values, self.preset.defaults)

    def given(self) -> dict[str, object]:
        """The options to render with: the quality's, and over them what was set by hand."""
        portrait = self.portrait
        longer = 10_000 if portrait is None else max(self._studio.looker.read(portrait).pixels.shape[:2])
        return quality_options(self.quality, self.preset.name, longer) | self.by_hand()

    def options(self) -> Options:
        """The same, checked."""
        return make_options(self.given(), self.preset.defaults)

    def files(self) -> tuple[Path, Path]:
        """The portrait and the voice; an error where one is not there yet."""
        portrait, voice = self.portrait, self.voice
        if portrait is None or voice is None:
            raise SaidError(say(self._language, "need_both"))
        return portrait, voice


class Actions:
    """The functions behind the page, in one language."""

    def __init__(self, desk: Desk, language: Language, names: tuple[str, ...]) -> None:
        self._desk, self._studio, self._language, self._names = desk, desk.studio, language, names
        self._gr: Any = import_module("gradio")

    def _wish(self, values: tuple[Any, ...]) -> Wish:
        return Wish(self._studio, self._language, self._names, values)

    def _error(self, error: Exception) -> str:
        return show.error_html(self._language, in_one_line(error, self._uploads), trouble_of(error))

    @property
    def _uploads(self) -> Path:
        return self._studio.settings.folder / "uploads"

    def look(self, *values: Any) -> str:
        """The portrait with its crop, or what is wrong with it."""
        try:
            wish = self._wish(values)
            portrait = wish.portrait
            if portrait is None:
                return ""
            return show.look_html(self._language, self._studio.looker.look(portrait, wish.options()))
        except EchoMimicError as error:
            return self._error(error)

    def listen(self, *values: Any) -> str:
        """How long the voice is, or what is wrong with it."""
        from echomimic.media import read_speech
        from echomimic.notes import collect_notes

        try:
            wish = self._wish(values)
            voice = wish.voice
            if voice is None:
                return ""
            with collect_notes() as notes:
                speech = read_speech(voice)
            fps = make_options(given_options(dict(wish.options().__dict__), {})).fps
        except EchoMimicError as error:
            return self._error(error)
        words = say(self._language, "voice_said", seconds=speech.duration, frames=speech.frames(fps))
        return f'<p class="em-said">{words}</p>{show.notes_html(self._language, notes)}'

    def show_defaults(self, preset: str) -> list[Any]:
        """The options as the preset has them."""
        defaults = resolve_preset(preset)[0].defaults
        own = {control.name: control.default for control in OPTION_SPECS}
        return [self._gr.update(value=defaults.get(name, own[name])) for name in self._names]

    def example(self) -> tuple[str, str]:
        """The bundled portrait and voice."""
        from echomimic.apps.demo import demo_portrait, demo_voice

        return str(demo_portrait()), str(demo_voice())

    async def generate(self, *values: Any) -> AsyncIterator[Watched]:
        """Put the video in the queue and say how far it is until it is there."""
        try:
            wish = self._wish(values)
            portrait, voice = wish.files()
            await asyncio.to_thread(wish.options)
            order = Order(portrait, voice, None, wish.preset.name, wish.given())
            job = await asyncio.to_thread(self._studio.jobs.submit, order)
        except EchoMimicError as error:
            yield self._ended(self._error(error))
            return
        async for state in self._follow(job):
            yield state

    async def resume(self, name: str) -> AsyncIterator[Watched]:
        """Go on showing the job that this tab has started before it was loaded anew."""
        job = self._studio.jobs.find(name or "")
        if job is None:
            gone = f'<p class="em-said" role="status">{say(self._language, "gone")}</p>'
            yield self._ended(gone if name else "")
            return
        async for state in self._follow(job):
            yield state

    async def _follow(self, job: Job) -> AsyncIterator[Watched]:
        video = self._gr.skip()
        yield "", None, self._gr.update(interactive=False), self._gr.update(interactive=True), job.id
        while not job.ended:
            self._studio.jobs.find(job.id)
            html = show.job_html(self._language, job, self._studio.jobs.ahead(job))
            yield html, video, self._gr.skip(), self._gr.skip(), self._gr.skip()
            await asyncio.sleep(_TICK)
        yield self._ended(show.job_html(self._language, job, 0), job)

    def _ended(self, status: str, job: Job | None = None) -> Watched:
        clip = job.clip if job else None
        video = str(clip.path) if clip and clip.path.is_file() else None
        return status, video, self._gr.update(interactive=True), self._gr.update(interactive=False), self._gr.skip()

    def lost_js(self) -> str:
        """What the browser does by itself where the server does not answer any more."""
        line = show.error_html(self._language, say(self._language, "lost"), "SaidError")
        shown = [line, None, {"__type__": "update", "interactive": True}, {"__type__": "update", "interactive": False}]
        return f"() => {json.dumps(shown, ensure_ascii=False)}"

    def cancel(self, name: str) -> None:
        """Stop the job of this tab."""
        job = self._studio.jobs.find(name or "")
        if job:
            self._studio.jobs.cancel(job)

    async def presets(self) -> str:
        """Which presets can run here."""
        return show.presets_html(self._language, await self._studio.presets())

    def edit(self, *values: Any) -> tuple[str, str]:
        """Open the editor with what was entered: a link, and the address that the browser opens by itself."""
        try:
            wish = self._wish(values)
            session = self._desk.open(*wish.files(), wish.by_hand())
        except EchoMimicError as error:
            return self._error(error), ""
        kind = "hands" if wish.preset.conditioning == "hands" else "face"
        address = f"/editor?lang={self._language}&kind={kind}#{session.id}"
        words = say(self._language, "open_editor")
        return f'<p class="em-said"><a href="{escape(address)}" target="_blank">{words}</a></p>', address
