"""Pieces of HTML for the page: everything that comes from outside is escaped."""

from collections.abc import Iterable
from html import escape

from echomimic.apps.doctor import PresetStatus
from echomimic.apps.web.advice import advice
from echomimic.apps.web.jobs import Job
from echomimic.apps.web.look import Look, to_data_url
from echomimic.apps.web.words import Language, pattern, say
from echomimic.presets import PRESETS


def error_html(language: Language, text: str, trouble: str) -> str:
    """An error in one line; in Chinese after a line that says what to do."""
    todo = advice(language, trouble)
    line = f'<span lang="en">{escape(text)}</span>' if todo else escape(text)
    return f'<p class="em-error" role="alert"><b>{say(language, "error")}:</b> {todo} {line}</p>'


def limit_html(language: Language, limit: int) -> str:
    """A place for the page to say that a file is larger than `limit` bytes."""
    words = escape(pattern(language, "too_large"), quote=True)
    lead = f"<b>{say(language, 'error')}:</b> <span></span>"
    return f'<p class="em-error" role="alert" data-limit="{limit}" data-words="{words}" hidden>{lead}</p>'


def notes_html(language: Language, notes: Iterable[str]) -> str:
    """Notes, one a line."""
    word = say(language, "note")
    return "".join(f'<p class="em-note"><b>{word}:</b> {escape(text)}</p>' for text in notes)


def picture_html(jpeg: bytes, words: str, kind: str) -> str:
    """A picture that travels in the page itself."""
    return f'<img class="{kind}" alt="{escape(words)}" src="{to_data_url(jpeg)}">'


def look_html(language: Language, look: Look) -> str:
    """The portrait with its crop, and what it means."""
    framing, portrait = look.framing, look.portrait
    words = say(language, "crop", width=framing.width, height=framing.height, wide=portrait.width, high=portrait.height)
    shown = picture_html(look.picture, say(language, "crop_alt"), "em-look")
    return f'{shown}<p class="em-said">{escape(words)}</p>{notes_html(language, look.notes)}'


def job_html(language: Language, job: Job, ahead: int) -> str:
    """How far a job is, or how it ended."""
    if job.state == "failed":
        return error_html(language, job.error, job.trouble)
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
    watch, network = job.watch, "_network" if _has_network(job.order.preset) else ""
    if watch is None or not watch.speed:  # nor is there a time left before there is a speed
        return say(language, f"starting{network}")
    said = {"done": watch.done, "total": watch.total, "speed": watch.speed, "left": watch.left}
    return say(language, f"running{network}", **said)


def _has_network(preset: str) -> bool:
    """Whether a preset denoises before there are frames."""
    return preset in PRESETS and PRESETS[preset].engine == "diffusion"


def _bar_html(language: Language, job: Job, ahead: int) -> str:
    watch = job.watch
    value = f'value="{watch.done}" max="{watch.total}"' if watch and watch.total else ""
    label = say(language, "progress")
    bar = f'<progress class="em-bar" aria-label="{label}" {value}></progress>'
    seen = watch.picture if watch else None
    shown = picture_html(seen, say(language, "preview_alt"), "em-preview") if seen else ""
    return f'{bar}<p class="em-said" role="status">{job_words(language, job, ahead)}</p>{shown}'


def presets_html(language: Language, found: Iterable[PresetStatus]) -> str:
    """Which presets can run here, and what mends the others."""
    lines = []
    for preset in found:
        what = say(language, "ready" if preset.ready else "not_ready")
        mend = "".join(f"<br><code>{escape(line)}</code>" for line in preset.fix)
        summary = escape(PRESETS[preset.preset].summary)
        lines.append(f"<li><b>{escape(preset.preset)}</b>: {summary}; {what}{mend}</li>")
    return f'<ul class="em-presets">{"".join(lines)}</ul>'
