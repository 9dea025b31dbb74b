"""Pieces of HTML for the page: everything that comes from outside is escaped."""

from base64 import b64encode
from collections.abc import Iterable
from html import escape

from echomimic.apps.doctor import Readiness
from echomimic.apps.web.jobs import Job
from echomimic.apps.web.look import Look
from echomimic.apps.web.words import Language, say
from echomimic.presets import PRESETS


def error_html(language: Language, text: str) -> str:
    """An error in one line."""
    return f'<p class="em-error" role="alert"><b>{say(language, "error")}:</b> {escape(text)}</p>'


def notes_html(language: Language, notes: Iterable[str]) -> str:
    """Notes, one a line."""
    word = say(language, "note")
    return "".join(f'<p class="em-note"><b>{word}:</b> {escape(text)}</p>' for text in notes)


def picture_html(jpeg: bytes, words: str, kind: str) -> str:
    """A picture that travels in the page itself."""
    return f'<img class="{kind}" alt="{escape(words)}" src="data:image/jpeg;base64,{b64encode(jpeg).decode()}">'


def look_html(language: Language, look: Look) -> str:
    """The portrait with its crop, and what it means."""
    framing, portrait = look.framing, look.portrait
    words = say(language, "crop", width=framing.width, height=framing.height, wide=portrait.width, high=portrait.height)
    shown = picture_html(look.picture, say(language, "crop_alt"), "em-look")
    return f'{shown}<p class="em-said">{escape(words)}</p>{notes_html(language, look.notes)}'


def job_html(language: Language, job: Job, ahead: int) -> str:
    """How far a job is, or how it ended."""
    if job.state == "failed":
        return error_html(language, job.error)
    if job.state == "cancelled":
        return f'<p class="em-said" role="status">{say(language, "cancelled")}</p>'
    if job.state == "done" and job.clip:
        clip = job.clip
        words = say(
            language,
            "done",
            frames=clip.frames,
            seconds=clip.seconds,
            width=clip.width,
            height=clip.height,
            preset=clip.preset,
            seed=clip.seed,
            took=clip.took,
        )
        return f'<p class="em-said" role="status">{words}</p>{notes_html(language, clip.notes)}'
    return _bar_html(language, job, ahead)


def job_words(language: Language, job: Job, ahead: int) -> str:
    """What a job is doing, in one line."""
    if job.state == "waiting" and ahead:
        return say(language, "waiting", ahead=ahead)
    if not job.total:
        return say(language, "starting")
    return say(language, "running", done=job.done, total=job.total, speed=job.speed, left=job.left)


def _bar_html(language: Language, job: Job, ahead: int) -> str:
    value = f'value="{job.done}" max="{job.total}"' if job.total else ""
    label = say(language, "progress")
    bar = f'<progress class="em-bar" aria-label="{label}" {value}></progress>'
    shown = picture_html(job.preview, say(language, "preview_alt"), "em-preview") if job.preview else ""
    return f'{bar}<p class="em-said" role="status">{job_words(language, job, ahead)}</p>{shown}'


def presets_html(language: Language, found: Iterable[Readiness]) -> str:
    """Which presets can run here, and what mends the others."""
    lines = []
    for preset in found:
        what = say(language, "ready" if preset.ready else "not_ready")
        mend = "".join(f"<br><code>{escape(line)}</code>" for line in preset.mend)
        summary = escape(PRESETS[preset.preset].summary)
        lines.append(f"<li><b>{escape(preset.preset)}</b>: {summary}; {what}{mend}</li>")
    return f'<ul class="em-presets">{"".join(lines)}</ul>'
