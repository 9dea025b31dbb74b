"""Later layouts of ComfyUI_EchoMimic, as data: the values that our nodes accept, and what replaces its other nodes.

Until August 2025 the two nodes kept the published widgets in the published order; only choices changed. Since then the
same ids have other widgets beside Echo_Predata: such a node cannot be read by position, and is refused with a message.
"""

from dataclasses import dataclass

from echomimic.apps.comfy import widgets

LATER_MODES = {"pose_normal_dwpose": "pose_normal", "pose_normal_sapiens": "pose_normal"}
"""Since December 2024: two ways to find a pose in a video; here there is one."""
BUILT_IN_POSES = ("pose_01", "pose_02", "pose_03", "pose_04", "pose_fight", "pose_good", "pose_salute", "pose_ultraman")
"""Since December 2024: recorded motions that the original pack includes."""
VAE_NAMES = ("sd-vae-ft-mse", "diffusion_pytorch_model", "vae-ft-mse-840000-ema-pruned")
"""Since April 2025 a file of models/vae is chosen; these are the autoencoder that every EchoMimic was trained with."""
SINCE_2025 = "Workflows saved by ComfyUI_EchoMimic since August 2025 have other values in these places"


@dataclass(frozen=True)
class Replacement:
    """The replacement of a node that is not installed.

    `widgets` are its widgets in the order of its workflow files; `inputs` pairs (new, old) of names, `values` further
    values of the new node, `outputs` pairs (new, old) of positions.
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
_MAPPED = [new for new, _ in _PREDATA]

REPLACEMENTS = (
    Replacement(
        "Echo_Predata",
        "EchoMimicSampler",
        (
            *("prompt", "negative_prompt", "pose_dir", "width", "height", "fps", "facemask_ratio", "facecrop_ratio"),
            *("length", "partial_video_length", "draw_mouse", "motion_sync_"),
        ),
        _PREDATA,
        tuple((name, value) for name, value in widgets.defaults(widgets.RENDER).items() if name not in _MAPPED),
    ),
    Replacement(
        "Echo_Upscaleloader",
        "UpscaleModelLoader",
        (
            *("realesrgan", "face_detection_model", "bg_upsampler", "face_upsample", "has_aligned", "bg_tile"),
            "upscale",
        ),
        (("model_name", "realesrgan"),),
        outputs=((0, 0),),
    ),
    Replacement(
        "Echo_VideoUpscale",
        "ImageUpscaleWithModel",
        ("video_path", "fidelity_weight", "only_center_face", "draw_box", "save_video"),
        (("upscale_model", "model"), ("image", "image")),
        outputs=((0, 0),),
    ),
)


def infer_mode_fault(infer_mode: object, choices: tuple[str, ...]) -> str:
    """Why a loader cannot use this infer_mode; empty if it can."""
    if infer_mode in choices or infer_mode in LATER_MODES:
        return ""
    return (
        f"infer_mode is {infer_mode!r}; expected one of {', '.join(choices)}. {SINCE_2025}: "
        "use EchoMimic Load instead of this node"
    )


def pose_dir_fault(pose_dir: object, choices: list[str]) -> str:
    """Why a sampler cannot use this pose_dir; empty if it can."""
    if pose_dir in choices or pose_dir in BUILT_IN_POSES:
        return ""
    there = f" ({', '.join(choices[1:])})" if choices[1:] else ""
    fault = f"pose_dir is {pose_dir!r}; expected none or a folder of input/tensorrt_lite{there}"
    if isinstance(pose_dir, str):
        return f"{fault}: put a folder of that name there, or choose another"
    return (
        f"{fault}. {SINCE_2025}: "
        "use EchoMimic Load and EchoMimic Sampler instead of this node and its loader, and link video to Save Video"
    )
