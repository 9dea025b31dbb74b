"""Which preset to use: the one asked for, or the best whose weights are here and whose device can run it."""

from importlib.util import find_spec
from pathlib import Path

from echomimic.checkpoints import FILES, locate, search_paths
from echomimic.presets import Preset, find_preset
from echomimic.types import LandmarkTrack, Motion, PoseTrack

BEST: dict[type | None, tuple[str, ...]] = {
    None: ("v1", "v1-acc", "v1-landmarks", "v1-landmarks-acc"),
    LandmarkTrack: ("v1-landmarks", "v1-landmarks-acc"),
    PoseTrack: ("v2", "v2-acc"),
}
"""By the kind of motion that was given, the presets that `auto` prefers to mesh, the best first."""


def choose_preset(name: str, motion: Motion | None = None, weights: Path | None = None) -> tuple[Preset, str]:
    """The preset to use and why. Raises OptionError for an unknown name, WeightsError for a folder that is missing."""
    if name != "auto":
        return find_preset(name), "asked for"
    places = search_paths(weights)
    ready = [preset for preset in BEST[None if motion is None else type(motion)] if _has_files(preset, places)]
    if not ready:
        return find_preset("mesh"), "no checkpoints are here that it could use instead"
    if not _has_accelerator():
        return find_preset(
            "mesh"
        ), f"the files of {ready[0]} are here but no GPU: `preset` {ready[0]} uses them all the same"
    return find_preset(ready[0]), "its files are here and a GPU to run it"


def _has_files(preset: str, places: list[Path]) -> bool:
    """Whether every checkpoint file of a preset is in one of these folders."""
    return all(locate(FILES[name], places) is not None for name in find_preset(preset).files.values())


def missing_files(name: str, weights: Path | None = None) -> list[str]:
    """Names of the checkpoint files of a preset that are in none of the folders looked in."""
    places = search_paths(weights)
    return [file for file in dict.fromkeys(find_preset(name).files.values()) if locate(FILES[file], places) is None]


def _has_accelerator() -> bool:
    if find_spec("torch") is None:
        return False
    import torch

    return torch.accelerator.current_accelerator(check_available=True) is not None
