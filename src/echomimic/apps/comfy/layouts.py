"""The later layouts of ComfyUI_EchoMimic, as data: which of their values our nodes take, and what replaces their nodes.

Up to August 2025 the two nodes kept the page's widgets in the page's order; only choices changed. Since then the same
ids stand for other widgets beside Echo_Predata: such a node cannot be read in place, and is refused in words.
"""

from dataclasses import dataclass

from echomimic.apps.comfy import fields

LATER_MODES = {"pose_normal_dwpose": "pose_normal", "pose_normal_sapiens": "pose_normal"}
"""Since December 2024: two ways to find a pose in a video; here there is one."""
BUILT_IN_POSES = ("pose_01", "pose_02", "pose_03", "pose_04", "pose_fight", "pose_good", "pose_salute", "pose_ultraman")
"""Since December 2024: recorded motions that the original pack brought with it."""
VAE_NAMES = ("sd-vae-ft-mse", "diffusion_pytorch_model", "vae-ft-mse-840000-ema-pruned")
"""Since April 2025 a file of models/vae is chosen; these are the autoencoder that every EchoMimic was trained with."""
SINCE_2025 = "Workflows saved by ComfyUI_EchoMimic since August 2025 have other values in these places"


@dataclass(frozen=True)
class Rule:
    """What replaces a node that is not installed.

    `widgets` are its widgets in the order of its workflow files; `inputs` pairs (new, old) of names, `values` what else
    is set, `outputs` pairs (new, old) of places.
    """

    old: str
    new: str
    widgets: tuple[str, ...]
    inputs: tuple[tuple[str, str], ...]
    values: tuple[tuple[str, object], ...] = ()
    outputs: tuple[tuple[int, int], ...] = ()


_PREDATA = (
    ("image", "image"),
    ("audio", "audio"),
    ("size", "height"),
    ("fps", "fps"),
    ("mask_margin", "facemask_ratio"),
    ("crop_margin", "facecrop_ratio"),
    ("frames", "length"),
)
_TAKEN = [new for new, _ in _PREDATA]

RULES = (
    Rule(
        "Echo_Predata",
        "EchoMimicSampler",
        (
            *("prompt", "negative_prompt", "pose_dir", "width", "height", "fps", "facemask_ratio", "facecrop_ratio"),
            *("length", "partial_video_length", "draw_mouse", "motion_sync_"),
        ),
        _PREDATA,
        tuple((name, value) for name, value in fields.defaults(fields.RENDER).items() if name not in _TAKEN),
    ),
    Rule(
        "Echo_Upscaleloader",
        "UpscaleModelLoader",
        (
            *("realesrgan", "face_detection_model", "bg_upsampler", "face_upsample", "has_aligned", "bg_tile"),
            "upscale",
        ),
        (("model_name", "realesrgan"),),
        outputs=((0, 0),),
    ),
    Rule(
        "Echo_VideoUpscale",
        "ImageUpscaleWithModel",
        ("video_path", "fidelity_weight", "only_center_face", "draw_box", "save_video"),
        (("upscale_model", "model"), ("image", "image")),
        outputs=((0, 0),),
    ),
)


def wrong_mode(infer_mode: object, choices: tuple[str, ...]) -> str:
    """Why a loader cannot take this infer_mode; empty where it can."""
    if infer_mode in choices or infer_mode in LATER_MODES:
        return ""
    return (
        f"infer_mode is {infer_mode!r}; expected one of {', '.join(choices)}. {SINCE_2025}: "
        "take EchoMimic Load instead of this node"
    )


def wrong_pose(pose_dir: object, choices: list[str]) -> str:
    """Why a sampler cannot take this pose_dir; empty where it can."""
    if pose_dir in choices or pose_dir in BUILT_IN_POSES:
        return ""
    there = f" ({', '.join(choices[1:])})" if choices[1:] else ""
    said = f"pose_dir is {pose_dir!r}; expected none or a folder of input/tensorrt_lite{there}"
    if isinstance(pose_dir, str):
        return f"{said}: put a folder of that name there, or choose another"
    return (
        f"{said}. {SINCE_2025}: "
        "take EchoMimic Load and EchoMimic Sampler instead of this node and its loader, and link video to Save Video"
    )
