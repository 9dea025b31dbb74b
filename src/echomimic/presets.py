"""The presets: one network or mesh, and everything in which they differ, as data."""

from dataclasses import dataclass, field
from typing import Literal

from echomimic.errors import OptionError


@dataclass(frozen=True)
class Preset:
    """A way to render: its engine, what drives it besides the voice, and its default options.

    `drive` is the condition picture: a `mask` of the face, drawn `landmarks`, or drawn `hands`. `roll` is how many
    frames the context windows move each step; `noise_clamp` bounds the first noise. `files` are the checkpoints by
    their part, named as in `weights.FILES`; a diffusion preset without any has random weights.
    """

    name: str
    engine: Literal["mesh", "diffusion"]
    summary: str
    drive: Literal["none", "mask", "landmarks", "hands"] = "none"
    roll: int = 0
    noise_clamp: float | None = None
    defaults: dict[str, object] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


_FULL: dict[str, object] = {"fps": 24.0, "steps": 30, "guidance": 2.5}
_FAST: dict[str, object] = {"fps": 24.0, "steps": 6, "guidance": 1.0}
_FACE: dict[str, object] = {"size": 512, "framing": "crop"}
_BODY: dict[str, object] = {"size": 768}
_BOTH = {"vae": "vae", "speech": "whisper"}


def _v1(kind: str, acc: str) -> dict[str, str]:
    """The files of a V1 preset; the accelerated ones share the reference network and the condition encoder."""
    return {
        "denoising": f"v1/denoising_unet{kind}{acc}",
        "motion": f"v1/motion_module{kind}{acc}",
        "reference": f"v1/reference_unet{kind}",
        "condition": f"v1/face_locator{kind}",
        **_BOTH,
    }


def _v2(acc: str) -> dict[str, str]:
    return {
        "denoising": f"v2/denoising_unet{acc}",
        "motion": f"v2/motion_module{acc}",
        "reference": "v2/reference_unet",
        "condition": "v2/pose_encoder",
        **_BOTH,
    }


_ALL = (
    Preset("mesh", "mesh", "any CPU, nothing to fetch: the photo itself is moved"),
    Preset("v1", "diffusion", "a talking head; 30 steps", "mask", 2, 1.5, {**_FULL, **_FACE}, _v1("", "")),
    Preset("v1-acc", "diffusion", "a talking head; 6 steps", "mask", 2, 1.5, {**_FAST, **_FACE}, _v1("", "_acc")),
    Preset(
        "v1-landmarks",
        "diffusion",
        "a talking head that follows face landmarks; 30 steps",
        "landmarks",
        3,
        None,
        {**_FULL, **_FACE},
        _v1("_pose", ""),
    ),
    Preset(
        "v1-landmarks-acc",
        "diffusion",
        "a talking head that follows face landmarks; 6 steps",
        "landmarks",
        3,
        None,
        {**_FAST, **_FACE},
        _v1("_pose", "_acc"),
    ),
    Preset("v2", "diffusion", "a half body with hands; 30 steps", "hands", 3, 1.5, {**_FULL, **_BODY}, _v2("")),
    Preset("v2-acc", "diffusion", "a half body with hands; 6 steps", "hands", 3, 1.5, {**_FAST, **_BODY}, _v2("_acc")),
    Preset(
        "tiny",
        "diffusion",
        "noise from small random weights: to try the machinery",
        "mask",
        2,
        1.5,
        {"fps": 24.0, "steps": 2, "guidance": 1.5, "size": 64, "framing": "crop"},
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


def find_preset(name: str) -> Preset:
    """The preset called `name`; OptionError that lists the presets where there is none."""
    if name not in PRESETS:
        raise OptionError(
            f"unknown preset {name!r}; expected auto or one of {', '.join(PRESETS)}", code="preset_unknown"
        )
    return PRESETS[name]
