"""The page: two drop zones and Generate, in Gradio. What happens is in `Actions`; here is what is shown."""

from importlib import import_module
from pathlib import Path
from typing import Any

from echomimic.apps.web.actions import Actions
from echomimic.apps.web.desk import Desk
from echomimic.apps.web.fields import make_fields
from echomimic.apps.web.qualities import QUALITIES
from echomimic.apps.web.show import limit_html
from echomimic.apps.web.words import LANGUAGES, Language, say
from echomimic.presets import PRESETS, resolve_preset

STATIC = Path(__file__).parent / "static"
_PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}
_REMEMBER = "(id) => { if (id) sessionStorage.setItem('echomimic-job', id) }"
_RECALL = "() => sessionStorage.getItem('echomimic-job') || ''"
_KEEP = "(...chosen) => { sessionStorage.setItem('echomimic-chosen', JSON.stringify(chosen)) }"
_CHOSEN = """(...now) => {
    const chosen = JSON.parse(sessionStorage.getItem('echomimic-chosen') || '[]')
    return chosen.length === now.length ? chosen : now.map(() => ({ __type__: 'update' }))
}"""
"""What was chosen for the video of this tab: a page that is loaded again shows it again."""
_NEW_SEED = "() => Math.floor(Math.random() * 2147483647)"
_OPEN = "(address) => { if (address) window.open(address, '_blank') }"


def make_page(desk: Desk, language: Language) -> Any:
    """The page in one language, as Gradio Blocks to be mounted."""
    gr: Any = import_module("gradio")
    with gr.Blocks(
        title=f"EchoMimic · {say(language, 'title')}", analytics_enabled=False, delete_cache=(600, 3600)
    ) as page:
        gr.HTML(_head_html(language))
        parts = _layout(gr, language, desk.studio.settings.max_upload)
        _wire(gr, page, parts, Actions(desk, language, tuple(parts["options"])))
    return page


def theme() -> Any:
    """The page's looks, from fonts that are on the machine."""
    gr: Any = import_module("gradio")
    fonts = ("system-ui", "sans-serif")
    base = gr.themes.Base(primary_hue="teal", neutral_hue="slate", font=fonts, font_mono=("ui-monospace", "monospace"))
    return base.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        body_text_color_subdued="*neutral_600",
        block_info_text_color="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color_dark="*neutral_300",
    )


def _head_html(language: Language) -> str:
    others = " · ".join(
        f'<a href="/{code}/" hreflang="{code}" lang="{code}">{name}</a>'
        for code, name in LANGUAGES.items()
        if code != language
    )
    links = f'<a href="/editor?lang={language}">{say(language, "editor")}</a> · {others}'
    return (
        f'<header class="em-head" lang="{language}"><div><h1>{say(language, "title")}</h1>'
        f"<p>{say(language, 'subtitle')}</p></div><nav>{links}</nav></header>"
    )


def _layout(gr: Any, language: Language, limit: int) -> dict[str, Any]:
    """The components by name; `options` is a dict of its own."""
    parts: dict[str, Any] = {}
    with gr.Row():
        with gr.Column(min_width=300):
            parts["portrait"] = gr.File(label=say(language, "portrait"), elem_id="portrait", height=160)
            gr.HTML(limit_html(language, limit), elem_id="portrait-limit")
            parts["portrait_look"] = gr.HTML(elem_id="portrait-look")
        with gr.Column(min_width=300):
            parts["voice"] = gr.File(label=say(language, "voice"), elem_id="voice", height=160)
            gr.HTML(limit_html(language, limit), elem_id="voice-limit")
            parts["voice_look"] = gr.HTML(elem_id="voice-look")
            _add_choices(gr, language, parts)
        with gr.Column(min_width=300):
            parts["status"] = gr.HTML(elem_id="status")
            parts["video"] = gr.Video(
                label=say(language, "video"), elem_id="video", interactive=False, autoplay=True, buttons=["download"]
            )
            parts["edit"] = gr.Button(say(language, "edit"), elem_id="edit")
            parts["edit_link"] = gr.HTML(elem_id="edit-link")
    with gr.Accordion(say(language, "advanced"), open=False, elem_id="advanced"):
        parts["preset"] = gr.Dropdown(["auto", *PRESETS], value="auto", label=say(language, "preset"), elem_id="preset")
        with gr.Accordion(say(language, "presets_here"), open=False) as parts["presets_fold"]:
            parts["presets"] = gr.HTML(say(language, "looking"))
        parts["options"] = make_fields(language, resolve_preset("auto")[0].defaults)
    parts["job"] = gr.Textbox(visible="hidden", elem_id="job")
    parts["address"] = gr.Textbox(visible="hidden")
    return parts


def _add_choices(gr: Any, language: Language, parts: dict[str, Any]) -> None:
    """What most people set, and the buttons."""
    choices = [(say(language, name), name) for name in QUALITIES]
    parts["quality"] = gr.Radio(choices, value="balanced", label=say(language, "quality"), elem_id="quality")
    with gr.Row(equal_height=False):
        parts["seed"] = gr.Number(
            0,
            precision=0,
            label=say(language, "seed"),
            info=say(language, "seed_help"),
            min_width=140,
            elem_id="seed",
        )
        parts["new_seed"] = gr.Button(say(language, "new_seed"), min_width=100, size="sm")
    with gr.Row():
        parts["generate"] = gr.Button(say(language, "generate"), variant="primary", elem_id="generate", min_width=120)
        parts["cancel"] = gr.Button(say(language, "cancel"), interactive=False, elem_id="cancel", min_width=80)
    parts["example"] = gr.Button(say(language, "example"), elem_id="example", size="sm")


def _wire(gr: Any, page: Any, parts: dict[str, Any], actions: Actions) -> None:
    """Say what calls what."""
    options = list(parts["options"].values())
    wish = [parts["portrait"], parts["voice"], parts["quality"], parts["preset"], parts["seed"], *options]
    watched = [parts["status"], parts["video"], parts["generate"], parts["cancel"], parts["job"]]
    crop = [parts["options"][name] for name in ("size", "framing", "face", "face_box", "crop_margin")]
    seen = {"inputs": wish, "outputs": [parts["portrait_look"]], "trigger_mode": "always_last"}
    heard = {"inputs": wish, "outputs": [parts["voice_look"]], "trigger_mode": "always_last"}
    # what Gradio queues shares one stream, and an event that joins while that closes is lost: only what reports
    # progress is queued
    many, quick = {**_PRIVATE, "concurrency_limit": None}, {**_PRIVATE, "queue": False}
    shaping = [each.input for each in (parts["quality"], *crop)]
    # Gradio tells of a text that is pasted before it has it: looked at once more when the field is left
    shaping += [each.blur for each in crop if hasattr(each, "blur")]
    gr.on([parts["portrait"].change, *shaping], actions.look, **seen, **many)
    gr.on([parts["voice"].change, parts["options"]["fps"].input], actions.listen, **heard, **many)
    chosen = parts["preset"].input(actions.show_defaults, parts["preset"], options, **many)
    chosen.then(actions.look, **seen, **many)  # once all of its defaults are there
    chosen.then(actions.listen, **heard, **many)
    parts["example"].click(actions.example, None, [parts["portrait"], parts["voice"]], **quick)
    parts["new_seed"].click(None, None, parts["seed"], js=_NEW_SEED, **_PRIVATE)
    page.load(None, wish, wish, js=_CHOSEN, **_PRIVATE)
    parts["generate"].click(None, wish, None, js=_KEEP, **_PRIVATE)
    generated = parts["generate"].click(actions.generate, wish, watched, **many)
    parts["cancel"].click(actions.cancel, parts["job"], None, **quick)
    parts["job"].change(None, parts["job"], None, js=_REMEMBER, **_PRIVATE)
    parts["presets_fold"].expand(actions.presets, None, [parts["presets"]], **quick)
    resumed = page.load(actions.resume, parts["job"], watched, js=_RECALL, **many)
    for event in (generated, resumed):  # the server has gone in the middle of it
        event.failure(None, None, watched[:4], js=actions.lost_js(), **_PRIVATE)
    edited = parts["edit"].click(actions.edit, wish, [parts["edit_link"], parts["address"]], **quick)
    edited.then(None, parts["address"], None, js=_OPEN, **_PRIVATE)
