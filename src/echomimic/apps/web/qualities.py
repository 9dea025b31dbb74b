"""Draft, balanced and best: what each changes in the options of a preset."""

from collections.abc import Mapping

from echomimic.presets import PRESETS

QUALITIES = ("draft", "balanced", "best")
_LONGEST = {"draft": 320, "balanced": 640}
"""The longer side of the video; the best is as large as the picture, up to the engine's own limit."""
_DRAFT_STEPS = 0.4
"""Share of a diffusion preset's steps that a draft makes."""


def quality_options(quality: str, preset: str, longer: int) -> dict[str, object]:
    """The options that a quality stands for, given the longer side of the picture in pixels.

    A diffusion preset has the one size it was trained at: a draft of it makes fewer steps.
    """
    chosen = PRESETS.get(preset)
    if chosen is None or chosen.engine == "mesh":
        limit = _LONGEST.get(quality)
        return {} if limit is None or limit >= longer else {"size": limit}
    return {"steps": max(2, round(_DRAFT_STEPS * _steps(chosen.defaults)))} if quality == "draft" else {}


def _steps(defaults: Mapping[str, object]) -> int:
    from echomimic.options import make_options

    return make_options({}, defaults).steps
