"""Echo_LoadModel and Echo_Sampler, the nodes of the published workflow page, on our presets.

`legacy_schema` defines their inputs and outputs. Only ComfyUI imports this module.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np

from echomimic.apps.comfy import host, legacy_schema
from echomimic.apps.comfy.convert import audio_of, image_of, pictures_of, portrait_of, speech_of, track_motion, video_of
from echomimic.apps.comfy.legacy_schema import NO_POSE, POSES, PRESET_OF, VAE, Slot
from echomimic.apps.comfy.render import Driver, Model, Result, load_model, render
from echomimic.apps.comfy.widgets import note_lines
from echomimic.errors import FaceError, WeightsError
from echomimic.media import atomic_path
from echomimic.notes import collect_notes, note
from echomimic.options import make_options
from echomimic.types import Portrait, Speech

io: Any = import_module("comfy_api.latest").io
_LINKS = {"IMAGE": io.Image, "AUDIO": io.Audio, "VIDEO": io.Video, "FLOAT": io.Float}
_NUMBERS = {"INT": io.Int, "FLOAT": io.Float}
_DEFAULTS = {slot.name: slot.default for slot in legacy_schema.SAMPLER if slot.default is not None}
WINDOW = (2, 32)
"""Frames of a context window that the networks accept; the published range is larger."""
MULTIPLE = 8
"""The networks make sides that are multiples of this; the host checks the range of a widget, not its step."""
LARGEST_MARGIN = 3.0
"""A crop margin that takes as much of the picture as a square can hold."""

Widgets = Mapping[str, Any]
"""Values of the widgets of Echo_Sampler by their published names."""


class EchoLoadModel(io.ComfyNode):  # type: ignore[misc]
    """The loader of the published page."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="Echo_LoadModel",
            display_name="Echo_LoadModel",
            category=legacy_schema.CATEGORY,
            description="Load EchoMimic V1 or V2, as in the published workflow. Needs checkpoints in models/echomimic.",
            inputs=[_input(slot) for slot in legacy_schema.LOADER],
            outputs=_outputs(legacy_schema.LOADER_OUTPUTS),
        )

    @classmethod
    def validate_inputs(cls, infer_mode: Any) -> Any:
        """Accept the names of later layouts too; the host's own check would not."""
        (choices,) = (slot.choices for slot in legacy_schema.LOADER if slot.name == "infer_mode")
        return legacy_schema.infer_mode_fault(infer_mode, choices) or True

    @classmethod
    def execute(
        cls,
        vae: str,
        denoising: bool,
        infer_mode: str,
        draw_mouse: bool,
        motion_sync: bool,
        lowvram: bool,
        version: str,
    ) -> Any:
        """Load the model; the other two outputs exist only to be linked. Raises WeightsError if a file is missing."""
        del denoising  # kept for saved workflows
        if vae.strip() not in ("", VAE) and Path(vae).stem not in legacy_schema.VAE_NAMES:
            raise WeightsError(
                f"vae is {vae!r}; expected {VAE}, the one every EchoMimic was trained with: put its .safetensors into "
                "models/vae as sd-vae-ft-mse.safetensors"
            )
        preset = PRESET_OF[version, legacy_schema.LATER_MODES.get(infer_mode, infer_mode)]
        model = load_model(preset, {"offload": lowvram}, sync=motion_sync, mouth=draw_mouse)
        return io.NodeOutput(model, model, model)


class EchoSampler(io.ComfyNode):  # type: ignore[misc]
    """The sampler of the published page."""

    @classmethod
    def define_schema(cls) -> Any:
        found = (NO_POSE, *host.poses())
        return io.Schema(
            node_id="Echo_Sampler",
            display_name="Echo_Sampler",
            category=legacy_schema.CATEGORY,
            description="Make the portrait speak, as in the published workflow; video holds the finished clip.",
            inputs=[_input(slot, found if slot.name == "pose_dir" else ()) for slot in legacy_schema.SAMPLER],
            outputs=_outputs(legacy_schema.SAMPLER_OUTPUTS),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, pose_dir: Any) -> Any:
        """Accept the names of later layouts too; the host's own check would not."""
        return legacy_schema.pose_dir_fault(pose_dir, [NO_POSE, *host.poses()]) or True

    @classmethod
    def fingerprint_inputs(cls, pose_dir: Any, **others: Any) -> Any:
        """The content of the folder, which is read again if it has changed."""
        return host.contents(host.input_path(POSES, str(pose_dir)))

    @classmethod
    def execute(
        cls,
        image: Any,
        audio: Any,
        model: Any,
        face_detector: Any,
        visualizer: Any = None,
        video_images: Any = None,
        **widgets: Any,
    ) -> Any:
        """Frames, the voice at their length, the frame rate and the clip; the report appears under the node."""
        del face_detector, visualizer  # parts of the model
        result = _sample(model, image, audio, {**_DEFAULTS, **widgets}, video_images)
        host.show_report(cls, result.report)
        voice = audio_of(audio, result.clip.seconds)
        video, ui = video_of(result.clip.path), {"text": (result.report,)}
        return io.NodeOutput(image_of(result.frames), voice, result.clip.fps, video, ui=ui)


NODES = [EchoLoadModel, EchoSampler]


def _input(slot: Slot, choices: tuple[str, ...] = ()) -> Any:
    if slot.default is None:
        return _type(slot.kind).Input(slot.name, optional=slot.optional, tooltip=slot.help or None)
    shared = {"default": slot.default, "tooltip": slot.help or None}
    if slot.kind == "COMBO":
        return io.Combo.Input(slot.name, options=list(choices or slot.choices), **shared)
    if slot.kind in _NUMBERS:
        more = {} if slot.round is None else {"round": slot.round}
        return _NUMBERS[slot.kind].Input(slot.name, min=slot.low, max=slot.high, step=slot.step, **more, **shared)
    return (io.Boolean if slot.kind == "BOOLEAN" else io.String).Input(slot.name, **shared)


def _outputs(outputs: tuple[tuple[str, str], ...]) -> list[Any]:
    return [_type(kind).Output(name, display_name=name) for name, kind in outputs]


def _type(kind: str) -> Any:
    return _LINKS.get(kind) or io.Custom(kind)


def _sample(model: Model, image: Any, audio: Any, widgets: Widgets, video_images: Any) -> Result:
    with collect_notes() as notes:
        portrait, speech = portrait_of(image), speech_of(audio)
        options = _context_options(widgets) | {
            "seed": widgets["seed"],
            "guidance_scale": widgets["cfg"],
            "steps": widgets["steps"],
            "fps": float(widgets["fps"]),
            "frames": min(widgets["length"], speech.frames(widgets["fps"])),
        }
        width, height = _even_size(widgets)
        framing, portrait, cut = _framing(model, portrait, width, height, widgets)
        make_options(options | framing)
        driver = _driver(model, widgets, video_images)
    result = _render(model, portrait, speech, driver, options | framing, cut)
    lines = [result.report, *note_lines(notes)]
    if widgets["save_video"]:
        target = host.output_path("EchoMimic", ".mp4")
        with atomic_path(target) as part:
            copyfile(result.clip.path, part)
        lines.append(f"note: saved as {target.name} in the output folder")
    return Result(result.clip, "\n".join(lines), result.frames)


def _render(
    model: Model,
    portrait: Portrait,
    speech: Speech,
    driver: Driver | None,
    options: Mapping[str, object],
    cut: tuple[int, int] | None,
) -> Result:
    """Render; an error about the widget face_box says which node has it."""
    try:
        return render(model, portrait, speech, driver, options, keep=True, cut=cut)
    except FaceError as error:
        if "face_box" not in str(error):
            raise
        raise FaceError(f"{error}, which only EchoMimic Sampler has", code=error.code) from error


def _even_size(widgets: Widgets) -> tuple[int, int]:
    asked = widgets["width"], widgets["height"]
    width, height = (round(side / MULTIPLE) * MULTIPLE for side in asked)
    if (width, height) != asked:
        note(
            "size_rounded",
            "the size is {old_width}x{old_height}; the network makes multiples of {factor}: {width}x{height}",
            old_width=asked[0],
            old_height=asked[1],
            factor=MULTIPLE,
            width=width,
            height=height,
        )
    return width, height


def _context_options(widgets: Widgets) -> dict[str, object]:
    asked, overlap_asked = widgets["context_frames"], widgets["context_overlap"]
    window = min(max(asked, WINDOW[0]), WINDOW[1])
    if window != asked:
        note(
            "context_frames_limited",
            "context_frames is {asked}; the network accepts {low} to {high}: {used} is used",
            asked=asked,
            low=WINDOW[0],
            high=WINDOW[1],
            used=window,
        )
    overlap = min(overlap_asked, window - 1)
    if overlap != overlap_asked:
        note(
            "context_overlap_limited",
            "context_overlap is {asked} and a window has {frames} frames: {used} is used",
            asked=overlap_asked,
            frames=window,
            used=overlap,
        )
    return {"context_frames": window, "context_overlap": overlap}


def _framing(
    model: Model, portrait: Portrait, width: int, height: int, widgets: Widgets
) -> tuple[dict[str, object], Portrait, tuple[int, int] | None]:
    """The options of framing, the portrait to render, and the (width, height) to cut out of each frame."""
    size = {"size": max(width, height)}
    if model.preset.conditioning == "hands":
        return {**size, "framing": "full"}, _middle(portrait, width, height), None
    ratio = widgets["facecrop_ratio"]
    margin = LARGEST_MARGIN if ratio >= 1 else ratio or 1
    face = {"framing": "crop", "mask_margin": widgets["facemask_ratio"], "crop_margin": margin}
    return {**size, **face}, portrait, None if width == height else (width, height)


def _middle(portrait: Portrait, width: int, height: int) -> Portrait:
    broad = min(portrait.width, round(portrait.height * width / height))
    tall = min(portrait.height, round(portrait.width * height / width))
    left, top = (portrait.width - broad) // 2, (portrait.height - tall) // 2
    return Portrait(np.ascontiguousarray(portrait.pixels[top : top + tall, left : left + broad]), name=portrait.name)


def _driver(model: Model, widgets: Widgets, video_images: Any) -> Driver | None:
    """The motion of the folder, else of the driving frames, else None: it is generated from the voice.

    A filmed body is always fitted to the portrait's own, as with a driving video.
    """
    folder = "" if widgets["pose_dir"] == NO_POSE else widgets["pose_dir"]
    conditioning, fps = model.preset.conditioning, widgets["fps"]
    if folder in legacy_schema.BUILT_IN_POSES and folder not in host.poses():
        if video_images is None and conditioning != "mask":
            note(
                "pose_folder_missing",
                "{folder} came with the original pack and is not here: the motion is generated from the voice",
                folder=folder,
            )
        folder = ""
    if not folder and video_images is None:
        return None
    if conditioning == "mask":
        note("pose_not_used", "in this infer_mode only the voice drives and the pose is not used; pose_normal uses it")
        return None
    if not folder:
        from echomimic.media import write_clip

        body = conditioning == "hands"
        motion = track_motion(lambda path: write_clip(path, pictures_of(video_images), fps, None, {}), body)
        return Driver(motion, body or model.sync, model.mouth)
    if video_images is not None:
        note(
            "video_images_not_used",
            "pose_dir {folder} is followed and video_images is not used; with pose_dir none it is",
            folder=folder,
        )
    from echomimic.motion import load_motion

    return Driver(load_motion(host.input_path(POSES, folder), fps=float(fps)), model.sync, model.mouth)
