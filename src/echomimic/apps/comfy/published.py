"""What the two nodes of the published page do, in its words (see contract.py), on our presets."""

from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np

from echomimic.apps.comfy import host
from echomimic.apps.comfy.contract import NO_POSE, POSES, PRESET_OF, VAE
from echomimic.apps.comfy.layouts import BUILT_IN_POSES, LATER_MODES, VAE_NAMES
from echomimic.apps.comfy.motions import Driver, tracked
from echomimic.apps.comfy.run import Made, Model, lines_of, load_model, render
from echomimic.apps.comfy.values import pictures_of, portrait_of, speech_of
from echomimic.errors import FaceError, WeightsError
from echomimic.media.output import atomic_path
from echomimic.notes import Note, collect_notes, note
from echomimic.options import make_options
from echomimic.types import Motion, Portrait, Speech

WINDOW = (2, 32)
"""What a window of the network can hold; the published ranges reach further."""
MULTIPLE = 8
"""Sides that the networks can make; the host checks the range of a widget, not its step."""
WHOLE = 3.0
"""A crop margin that takes as much of the picture as a square can hold."""


@dataclass(frozen=True)
class Wanted:
    """The widgets of Echo_Sampler, under their published names."""

    pose_dir: str
    seed: int
    cfg: float
    steps: int
    fps: int
    sample_rate: int
    facemask_ratio: float
    facecrop_ratio: float
    context_frames: int
    context_overlap: int
    length: int
    width: int
    height: int
    save_video: bool


def load(
    vae: str, denoising: bool, infer_mode: str, draw_mouse: bool, motion_sync: bool, lowvram: bool, version: str
) -> Model:
    """The preset that these widgets mean; WeightsError where its files are missing."""
    del denoising  # kept for saved workflows
    if vae.strip() not in ("", VAE) and Path(vae).stem not in VAE_NAMES:
        raise WeightsError(
            f"vae is {vae!r}; expected {VAE}, the one every EchoMimic was trained with: put its .safetensors into "
            "models/vae as sd-vae-ft-mse.safetensors"
        )
    preset = PRESET_OF[version, LATER_MODES.get(infer_mode, infer_mode)]
    return load_model(preset, {"offload": lowvram}, sync=motion_sync, mouth=draw_mouse)


def sample(model: Model, image: Any, audio: Any, wanted: Wanted, video_images: Any = None) -> Made:
    """Frames, and an .mp4, of the portrait speaking; `frames` of the result are all of them."""
    with collect_notes() as notes:
        portrait, speech = portrait_of(image), speech_of(audio)
        options, portrait, cut = _options(model, portrait, speech, wanted)
        make_options(options)
        driver = _driver(model, wanted, video_images)
    try:
        made = render(model, portrait, speech, driver, options, keep=True, cut=cut)
    except FaceError as error:
        if "face_box" not in str(error):
            raise
        raise FaceError(f"{error}, which EchoMimic Sampler has, and this node has not") from error
    if wanted.save_video:
        target = host.output_path("EchoMimic", ".mp4")
        with atomic_path(target) as part:
            copyfile(made.clip.path, part)
        notes.append(Note.make("saved_in_output_folder", "saved as {name} in the output folder", name=target.name))
    return Made(made.clip, "\n".join([made.report, *lines_of(notes)]), made.frames)


def _options(
    model: Model, portrait: Portrait, speech: Speech, wanted: Wanted
) -> tuple[dict[str, object], Portrait, tuple[int, int] | None]:
    """The options, the portrait in the wanted shape, and what is cut out of each frame."""
    width, height = (round(side / MULTIPLE) * MULTIPLE for side in (wanted.width, wanted.height))
    if (width, height) != (wanted.width, wanted.height):
        note(
            "size_rounded",
            "the size is {old_width}x{old_height}; the network makes multiples of {factor}: {width}x{height}",
            old_width=wanted.width,
            old_height=wanted.height,
            factor=MULTIPLE,
            width=width,
            height=height,
        )
    window = min(max(wanted.context_frames, WINDOW[0]), WINDOW[1])
    if window != wanted.context_frames:
        note(
            "context_frames_limited",
            "context_frames is {asked}; the network takes {low} to {high}: {used} it is",
            asked=wanted.context_frames,
            low=WINDOW[0],
            high=WINDOW[1],
            used=window,
        )
    overlap = min(wanted.context_overlap, window - 1)
    if overlap != wanted.context_overlap:
        note(
            "context_overlap_limited",
            "context_overlap is {asked}, and a window {frames} frames: {used} it is",
            asked=wanted.context_overlap,
            frames=window,
            used=overlap,
        )
    options: dict[str, object] = {
        "seed": wanted.seed,
        "guidance": wanted.cfg,
        "steps": wanted.steps,
        "fps": float(wanted.fps),
        "frames": min(wanted.length, speech.frames(wanted.fps)),
        "context_frames": window,
        "context_overlap": overlap,
        "size": max(width, height),
    }
    if model.preset.conditioning == "hands":
        return {**options, "framing": "full"}, _shaped(portrait, width, height), None
    ratio = wanted.facecrop_ratio
    face = {"framing": "crop", "mask_margin": wanted.facemask_ratio, "crop_margin": WHOLE if ratio >= 1 else ratio or 1}
    return {**options, **face}, portrait, None if width == height else (width, height)


def _shaped(portrait: Portrait, width: int, height: int) -> Portrait:
    """The middle of the portrait in the shape width : height."""
    wide = min(portrait.width, round(portrait.height * width / height))
    high = min(portrait.height, round(portrait.width * height / width))
    left, top = (portrait.width - wide) // 2, (portrait.height - high) // 2
    return Portrait(np.ascontiguousarray(portrait.pixels[top : top + high, left : left + wide]), name=portrait.name)


def _driver(model: Model, wanted: Wanted, video_images: Any) -> Driver | None:
    """What drives: the folder, else the driving frames, else nothing, which is generated from the voice.

    A filmed body is always put on the portrait's own, as it is where a video's path is given.
    """
    folder = "" if wanted.pose_dir == NO_POSE else wanted.pose_dir
    if folder in BUILT_IN_POSES and folder not in host.poses():
        if video_images is None and model.preset.conditioning != "mask":
            note(
                "pose_folder_missing",
                "{folder} came with the original pack and is not here: the motion is generated from the voice",
                folder=folder,
            )
        folder = ""
    if not folder and video_images is None:
        return None
    if model.preset.conditioning == "mask":
        note(
            "pose_not_used",
            "the voice alone drives in this infer_mode: the pose that came in is not used; pose_normal takes it",
        )
        return None
    if folder:
        if video_images is not None:
            note(
                "video_images_not_used",
                "pose_dir {folder} is followed: video_images is not used; pose_dir none takes it",
                folder=folder,
            )
        return Driver(_recorded(folder, wanted.fps), model.sync, model.mouth)
    body = model.preset.conditioning == "hands"
    return Driver(_filmed(video_images, wanted.fps, body), body or model.sync, model.mouth)


def _recorded(folder: str, fps: int) -> Motion:
    from echomimic.motion import load_motion

    return load_motion(host.input_path(POSES, folder), fps=float(fps))


def _filmed(video_images: Any, fps: int, body: bool) -> Motion:
    """The motion in a batch of frames."""
    from echomimic.media import write_clip

    return tracked(lambda path: write_clip(path, pictures_of(video_images), fps, None, {}), body)
