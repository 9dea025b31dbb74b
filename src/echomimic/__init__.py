"""A portrait photo and a voice become a video of that person speaking; the motion in between is data.

>>> import echomimic
>>> echomimic.animate("portrait.png", "voice.wav", output="out.mp4")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from echomimic.api import animate, load, plan, predict
    from echomimic.errors import EchoMimicError
    from echomimic.options import Options
    from echomimic.presets import PRESETS
    from echomimic.types import Clip, Curves, LandmarkTrack, Plan, Portrait, PoseTrack, Speech

_HOMES = {
    "api": ("animate", "load", "plan", "predict"),
    "errors": ("EchoMimicError",),
    "options": ("Options",),
    "presets": ("PRESETS",),
    "types": ("Clip", "Curves", "LandmarkTrack", "Plan", "Portrait", "PoseTrack", "Speech"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "PRESETS",
    "Clip",
    "Curves",
    "EchoMimicError",
    "LandmarkTrack",
    "Options",
    "Plan",
    "Portrait",
    "PoseTrack",
    "Speech",
    "__version__",
    "animate",
    "load",
    "plan",
    "predict",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import echomimic` stays light."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
