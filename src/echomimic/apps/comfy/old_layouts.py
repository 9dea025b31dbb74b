"""The widgets of every release of ComfyUI_EchoMimic (July 2024 to 2026), and which of them a saved node has.

A workflow of ComfyUI's page stores the values of a node by position. The pack changed its widgets ten times, so that
today's page reads old values into the wrong widgets. `recognize` finds the layout by the number and the types of the
values and by the links of the node; names and order are those of the pack's history (smthemex/ComfyUI_EchoMimic).
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_MODES = ("audio_drived", "audio_drived_acc", "pose_normal", "pose_normal_dwpose", "pose_normal_sapiens", "pose_acc")
_MEMORY = ("None", "LowRAM_LowVRAM", "VerylowRAM_LowVRAM", "LowRAM_HighVRAM", "HighRAM_LowVRAM", "HighRAM_HighVRAM")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "pose_mode": ("none", "normal", "turbo"),
    "infer_mode": _MODES,
    "use_mmgp": _MEMORY,
    "version": ("V1", "V2", "V3", "V3_flash"),
    "control_after_generate": ("fixed", "increment", "decrement", "randomize"),
    "bg_upsampler": ("realesrgan", "none"),
}
_TEXTS = frozenset(_words("vae lora audio video_files pose_dir prompt negative_prompt realesrgan video_path"))
_TEXTS |= {"face_detection_model", "path"}
_FLAGS = frozenset(_words("denoising use_pose draw_mouse motion_sync motion_sync_ lowvram teacache_offload"))
_FLAGS |= frozenset(_words("block_offload crop_face audio_form_video save_video face_upsample has_aligned"))
_FLAGS |= {"only_center_face", "draw_box"}
_FITTING = 2 / 3
"""Least fraction of values that have the type of their widget: the pack's own examples hold values in wrong places."""


@dataclass(frozen=True)
class Layout:
    """The widgets of a node from a date on, in the order of its workflow files.

    `links` are inputs that tell it from other layouts: they must be linked, or must not be if they begin with a minus.
    """

    node: str
    since: str
    widgets: tuple[str, ...]
    links: tuple[str, ...] = ()


def fits(widget: str, value: object) -> bool:
    """Whether a widget of the pack can hold this value."""
    if widget in _CHOICES:
        return value in _CHOICES[widget]
    if widget in _TEXTS:
        return isinstance(value, str)
    if widget in _FLAGS:
        return isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool)


_SIZE = "length width height"
_CONTEXT = "context_frames context_overlap"
_DENOISING = f"cfg steps fps sample_rate facemask_ratio facecrop_ratio {_CONTEXT}"
_SEED = "seed control_after_generate"
_LATEST = "vae lora denoising infer_mode lowvram teacache_offload"
_FIRST = "vae denoising infer_mode draw_mouse motion_sync"
_PREDATA = "prompt negative_prompt pose_dir width height fps facemask_ratio facecrop_ratio length"
_UPSCALER = "realesrgan face_detection_model bg_upsampler face_upsample has_aligned"
_UPSCALE = "video_path fidelity_weight only_center_face draw_box save_video"
_TABLE = f"""
Echo_LoadModel | July 2024 | vae denoising use_pose |
Echo_LoadModel | 17 July 2024 | vae denoising use_pose draw_mouse motion_sync |
Echo_LoadModel | 17 July 2024 | vae denoising pose_mode draw_mouse motion_sync |
Echo_LoadModel | 26 July 2024 | {_FIRST} |
Echo_LoadModel | August 2024 | {_FIRST} lowvram |
Echo_LoadModel | November 2024 | {_FIRST} lowvram version |
Echo_LoadModel | 12 August 2025 | vae denoising infer_mode lowvram teacache_offload use_mmgp version |
Echo_LoadModel | 18 August 2025 | {_LATEST} use_mmgp version |
Echo_LoadModel | January 2026 | {_LATEST} block_offload use_mmgp version |
Echo_Sampler | 14 July 2024 | audio seeds {_DENOISING} {_SIZE} save_video | pipe -audio
Echo_Sampler | 15 July 2024 | seeds {_DENOISING} {_SIZE} save_video |
Echo_Sampler | 17 July 2024 | video_files pose_dir seeds {_DENOISING} {_SIZE} audio_form_video save_video |
Echo_Sampler | 26 July 2024 | video_files pose_dir seeds {_DENOISING} crop_face {_SIZE} audio_form_video save_video |
Echo_Sampler | 18 November 2024 | pose_dir seeds {_DENOISING} {_SIZE} save_video | model audio
Echo_Sampler | 22 November 2024 | pose_dir {_SEED} {_DENOISING} {_SIZE} save_video |
Echo_Sampler | August 2025 | {_SEED} cfg steps sample_rate {_CONTEXT} save_video | emb
Echo_Predata | August 2025 | {_PREDATA} partial_video_length draw_mouse motion_sync_ |
Echo_Upscaleloader | October 2024 | {_UPSCALER} bg_tile upscale |
Echo_VideoUpscale | October 2024 | {_UPSCALE} |
Echo_VideoUpscale | October 2024 | {_UPSCALE} frame_rate path |
"""
LAYOUTS = tuple(
    Layout(node.strip(), since.strip(), _words(widgets), _words(links))
    for node, since, widgets, links in (line.split("|") for line in _TABLE.strip().splitlines())
)
NODES = frozenset(layout.node for layout in LAYOUTS)
WIDGETS = frozenset(name for layout in LAYOUTS for name in layout.widgets)
PAGE = {"Echo_LoadModel": LAYOUTS[5], "Echo_Sampler": LAYOUTS[14]}
"""The layouts that our nodes of the same names have."""


def recognize(node: str, stored: Sequence[Any], links: Container[str]) -> Layout | None:
    """The layout of a saved node by its values in order and its linked inputs; None if they fit no release."""
    rated = [(score, layout) for layout in LAYOUTS if layout.node == node and (score := _score(layout, stored, links))]
    return max(rated, key=lambda each: each[0])[1] if rated else None


def _score(layout: Layout, stored: Sequence[Any], links: Container[str]) -> float:
    """How well a layout explains a node; 0 if it cannot."""
    if len(stored) != len(layout.widgets):
        return 0.0
    fitting = sum(map(fits, layout.widgets, stored)) / len(stored)
    linked = all((name[1:] not in links) if name.startswith("-") else (name in links) for name in layout.links)
    return fitting if fitting >= _FITTING and linked else 0.0
