"""The nodes of the published workflow (ComfyUI_EchoMimic of November 2024, commit 4cdc13e) and later layouts, as data.

Saved workflows depend on names, order, types, ranges and defaults: none of them may change. Additions come last.
Other releases have other widgets under the same ids: `migrate` moves their values by name.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["IMAGE", "AUDIO", "MODEL_PIPE_E", "MODEL_FACE_E", "MODEL_VISUAL_E", "STRING", "BOOLEAN", "COMBO"]
Kinds = Kind | Literal["INT", "FLOAT"]
MAX_SEED = 2**31 - 1
CATEGORY = "EchoMimic"
ORIGINAL_FOLDER = "comfyui_echomimic"
"""Lower-case prefix of the original pack's folder among the custom nodes."""
NO_POSE = "none"
POSES = "tensorrt_lite"
"""Folder in the host's input folder; `pose_dir` lists its sub-folders."""
VAE = "stabilityai/sd-vae-ft-mse"
_MODE_PRESETS = {
    "audio_drived": ("v1", "v2"),
    "audio_drived_acc": ("v1-acc", "v2-acc"),
    "pose_normal": ("v1-landmarks", "v2"),
    "pose_acc": ("v1-landmarks-acc", "v2-acc"),
}
"""The presets of V1 and V2 that an infer_mode means."""
MODES = tuple(_MODE_PRESETS)


@dataclass(frozen=True)
class Slot:
    """One input: a link if `default` is None, else a widget. Folders found on disk may extend the `choices`."""

    name: str
    kind: Kinds
    default: object = None
    low: float | None = None
    high: float | None = None
    step: float | None = None
    round: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False

    @property
    def help(self) -> str:
        """What it does; empty for what needs no words."""
        return _HELP.get(self.name, "")


LOADER = (
    Slot("vae", "STRING", VAE),
    Slot("denoising", "BOOLEAN", True),
    Slot("infer_mode", "COMBO", MODES[0], choices=MODES),
    Slot("draw_mouse", "BOOLEAN", False),
    Slot("motion_sync", "BOOLEAN", False),
    Slot("lowvram", "BOOLEAN", False),
    Slot("version", "COMBO", "V2", choices=("V2", "V1")),
)
LOADER_OUTPUTS = (("model", "MODEL_PIPE_E"), ("face_detector", "MODEL_FACE_E"), ("visualizer", "MODEL_VISUAL_E"))
SAMPLER = (
    Slot("image", "IMAGE"),
    Slot("audio", "AUDIO"),
    Slot("model", "MODEL_PIPE_E"),
    Slot("face_detector", "MODEL_FACE_E"),
    Slot("pose_dir", "COMBO", NO_POSE, choices=(NO_POSE,)),
    Slot("seed", "INT", 0, 0, MAX_SEED),
    Slot("cfg", "FLOAT", 2.5, 0.0, 10.0, 0.1, 0.01),
    Slot("steps", "INT", 30, 1, 100),
    Slot("fps", "INT", 25, 5, 100),
    Slot("sample_rate", "INT", 16000, 8000, 48000, 1000),
    Slot("facemask_ratio", "FLOAT", 0.1, 0.0, 1.0, 0.1, 0.01),
    Slot("facecrop_ratio", "FLOAT", 0.8, 0.0, 1.0, 0.1, 0.01),
    Slot("context_frames", "INT", 12, 0, 50),
    Slot("context_overlap", "INT", 3, 0, 10),
    Slot("length", "INT", 120, 50, 5000, 1),
    Slot("width", "INT", 512, 128, 1024, 64),
    Slot("height", "INT", 512, 128, 1024, 64),
    Slot("save_video", "BOOLEAN", False),
    Slot("visualizer", "MODEL_VISUAL_E", optional=True),
    Slot("video_images", "IMAGE", optional=True),
)
SAMPLER_OUTPUTS = (("image", "IMAGE"), ("audio", "AUDIO"), ("frame_rate", "FLOAT"), ("video", "VIDEO"))
"""`video` is an addition; it comes last so that the others keep their positions."""

_SHAPE = "if width and height differ, V1 keeps the middle of its square, V2 the middle of the portrait"
_HELP = {
    "vae": "the published autoencoder, the only valid one; searched beside the checkpoints and in models/vae",
    "denoising": "kept for saved workflows; no effect",
    "infer_mode": "V1: what drives the face besides the voice; V2 follows a pose in every mode; "
    "modes with acc are made for about 6 steps and cfg 1",
    "draw_mouse": "V1 with a pose_dir or video_images: the network sees the driver's mouth too",
    "motion_sync": "fit the driver's movements to the portrait's own face or body; off: only a face that is elsewhere",
    "lowvram": "keep weights off the device between stages",
    "version": "V2 moves a half body with hands, V1 a head",
    "pose_dir": "a folder of input/tensorrt_lite to follow; none: video_images, else motion generated from the voice",
    "seed": "same inputs and seed: the same frames",
    "cfg": "classifier-free guidance scale; 1 or less disables it and halves the cost",
    "steps": "denoising steps",
    "fps": "frames a second",
    "sample_rate": "kept for saved workflows; the voice keeps its own rate",
    "facemask_ratio": "V1: reach of the mask that moves beyond the face's box on each side, in widths and heights of "
    "the box",
    "facecrop_ratio": "V1: reach of the square crop beyond the face's box on each side, in longer sides of the box; "
    "1: the largest square of the picture, 0: one longer side",
    "context_frames": "frames that are denoised together; the networks take 2 to 32",
    "context_overlap": "frames that neighbouring windows share",
    "length": "frames at most; the voice may be shorter",
    "width": _SHAPE,
    "height": _SHAPE,
    "save_video": "write an .mp4 into the output folder too",
    "visualizer": "no effect: infer_mode decides",
    "video_images": "frames of a driving video, at fps frames a second; not used with a pose_dir",
}
"""Help of the inputs by name."""
PRESET_OF = {
    **{("V1", mode): v1 for mode, (v1, _) in _MODE_PRESETS.items()},
    **{("V2", mode): v2 for mode, (_, v2) in _MODE_PRESETS.items()},
}
LATER_MODES = {"pose_normal_dwpose": "pose_normal", "pose_normal_sapiens": "pose_normal"}
"""Since December 2024: two ways to find a pose in a video; here there is one."""
BUILT_IN_POSES = ("pose_01", "pose_02", "pose_03", "pose_04", "pose_fight", "pose_good", "pose_salute", "pose_ultraman")
"""Since December 2024: recorded motions that the original pack includes."""
VAE_NAMES = ("sd-vae-ft-mse", "diffusion_pytorch_model", "vae-ft-mse-840000-ema-pruned")
"""Since April 2025 a file of models/vae is chosen; these are the autoencoder that every EchoMimic was trained with."""
OTHER_RELEASE = "Workflows of other releases of ComfyUI_EchoMimic have other values in these places"
MIGRATE = "open the workflow in the page again, or run: echomimic comfy migrate OLD.json NEW.json"


def infer_mode_fault(infer_mode: object, choices: tuple[str, ...]) -> str:
    """Why a loader cannot use this infer_mode; empty if it can."""
    if infer_mode in choices or infer_mode in LATER_MODES:
        return ""
    return f"infer_mode is {infer_mode!r}; expected one of {', '.join(choices)}. {OTHER_RELEASE}: {MIGRATE}"


def pose_dir_fault(pose_dir: object, choices: list[str]) -> str:
    """Why a sampler cannot use this pose_dir; empty if it can."""
    if pose_dir in choices or pose_dir in BUILT_IN_POSES:
        return ""
    there = f" ({', '.join(choices[1:])})" if choices[1:] else ""
    fault = f"pose_dir is {pose_dir!r}; expected none or a folder of input/tensorrt_lite{there}"
    if isinstance(pose_dir, str):
        return f"{fault}: put a folder of that name there, or choose another"
    return f"{fault}. {OTHER_RELEASE}: {MIGRATE}"
