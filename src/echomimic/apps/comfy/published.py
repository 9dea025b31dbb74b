"""What the two nodes of the published page do, in its words (see contract.py), on our presets."""

from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np

from echomimic.apps.comfy import host
from echomimic.apps.comfy.contract import NO_POSE, POSES, PRESET_OF, VAE
from echomimic.apps.comfy.layouts import BUILT_IN_POSES, LATER_MODES, VAE_NAMES
from echomimic.apps.comfy.motions import Driver
from echomimic.apps.comfy.run import Made, Model, load_model, render
from echomimic.apps.comfy.values import pictures_of, portrait_of, speech_of
from echomimic.errors import WeightsError
from echomimic.notes import collect_notes, note
from echomimic.options import make_options
from echomimic.types import Motion, Portrait, Speech

WINDOW = (2, 32)
"""What a window of the network can hold; the published ranges reach further."""
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
    del denoising, draw_mouse  # kept for saved workflows
    if vae.strip() not in ("", VAE) and Path(vae).stem not in VAE_NAMES:
        raise WeightsError(
            f"vae is {vae!r}; expected {VAE}, the one every EchoMimic was trained with: put its .safetensors into "
            "models/vae as sd-vae-ft-mse.safetensors"
        )
    return load_model(
        PRESET_OF[version, LATER_MODES.get(infer_mode, infer_mode)], {"offload": lowvram}, sync=motion_sync
    )


def sample(model: Model, image: Any, audio: Any, wanted: Wanted, video_images: Any = None) -> Made:
    """Frames, and an .mp4, of the portrait speaking; `frames` of the result are all of them."""
    with collect_notes() as notes:
        portrait, speech = portrait_of(image), speech_of(audio)
        options, portrait, cut = _options(model, portrait, speech, wanted)
        driver = _driver(model, wanted, video_images)
        make_options(options)
    made = render(model, portrait, speech, driver, options, keep=True, cut=cut)
    if wanted.save_video:
        target = host.output_path("EchoMimic", ".mp4")
        copyfile(made.clip.path, target)
        notes.append(f"saved as {target.name} in the output folder")
    return Made(made.clip, "\n".join([made.report, *(f"note: {text}" for text in notes)]), made.frames)


def _options(
    model: Model, portrait: Portrait, speech: Speech, wanted: Wanted
) -> tuple[dict[str, object], Portrait, tuple[int, int] | None]:
    """The options, the portrait in the wanted shape, and what is cut out of each frame."""
    side = max(wanted.width, wanted.height)
    window = min(max(wanted.context_frames, WINDOW[0]), WINDOW[1])
    if window != wanted.context_frames:
        note(f"context_frames is {wanted.context_frames}; the network takes {WINDOW[0]} to {WINDOW[1]}: {window} it is")
    options: dict[str, object] = {
        "seed": wanted.seed,
        "guidance": wanted.cfg,
        "steps": wanted.steps,
        "fps": float(wanted.fps),
        "frames": min(wanted.length, speech.frames(wanted.fps)),
        "context_frames": window,
        "context_overlap": min(wanted.context_overlap, window - 1),
        "size": side,
    }
    if model.preset.drive == "hands":
        return {**options, "framing": "full"}, _shaped(portrait, wanted.width, wanted.height), None
    ratio = wanted.facecrop_ratio
    face = {"framing": "crop", "mask_margin": wanted.facemask_ratio, "crop_margin": WHOLE if ratio >= 1 else ratio or 1}
    return {**options, **face}, portrait, None if wanted.width == wanted.height else (wanted.width, wanted.height)


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
    from echomimic.motion import load_motion

    folder = "" if wanted.pose_dir == NO_POSE else wanted.pose_dir
    if folder in BUILT_IN_POSES and folder not in host.poses():
        if video_images is None and model.preset.drive != "mask":
            note(f"{folder} came with the original pack and is not here: the motion is generated from the voice")
        folder = ""
    if not folder and video_images is None:
        return None
    if model.preset.drive == "mask":
        note("the voice alone drives in this infer_mode: the pose that came in is not used; pose_normal takes it")
        return None
    if folder:
        return Driver(load_motion(host.input_path(POSES, folder), fps=float(wanted.fps)), model.sync)
    body = model.preset.drive == "hands"
    return Driver(_tracked(video_images, wanted.fps, body), body or model.sync)


def _tracked(video_images: Any, fps: int, body: bool) -> Motion:
    """The motion in a batch of frames."""
    from echomimic.media import write_clip
    from echomimic.motion import load_motion

    path = host.temporary(".mp4")
    try:
        write_clip(path, iter(pictures_of(video_images)), fps, None, {})
        return load_motion(path, pose=body)
    finally:
        path.unlink(missing_ok=True)
