"""The presets: one network or mesh, and everything in which they differ, as data."""

from dataclasses import dataclass, field
from typing import Literal

from echomimic.errors import OptionError


@dataclass(frozen=True)
class Preset:
    """A way to render: its engine, what drives it besides the voice, and its default options.

    `drive` is the condition picture: a `mask` of the face, drawn `landmarks`, or drawn `hands`. `roll` is how many
    frames the context windows move each step; `noise_clamp` bounds the first noise.
    """

    name: str
    engine: Literal["mesh", "diffusion"]
    summary: str
    drive: Literal["none", "mask", "landmarks", "hands"] = "none"
    roll: int = 0
    noise_clamp: float | None = None
    defaults: dict[str, object] = field(default_factory=dict)


PRESETS: dict[str, Preset] = {
    preset.name: preset for preset in (Preset("mesh", "mesh", "any CPU, nothing to fetch: the photo itself is moved"),)
}


def find_preset(name: str) -> Preset:
    """The preset called `name`; OptionError that lists the presets where there is none."""
    if name not in PRESETS:
        raise OptionError(f"unknown preset {name!r}; expected auto or one of {', '.join(PRESETS)}")
    return PRESETS[name]
