"""The host's values and ours: IMAGE, AUDIO and VIDEO as a portrait, a voice and files, and back."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from echomimic.apps.comfy.host import stop_if_asked
from echomimic.errors import FaceError, MotionError, PictureError, SoundError
from echomimic.notes import note
from echomimic.types import Floats, LandmarkTrack, Picture, Portrait, Speech


def portrait_of(image: Any) -> Portrait:
    """The first picture of an IMAGE (B, H, W, 1, 3 or 4) in 0..1; transparency is left out. PictureError."""
    _check_image(image)
    if image.shape[0] > 1:
        note("first_image_of_batch", "{count} images came in: the first is the portrait", count=image.shape[0])
    return Portrait(_pixels(image[0]))


def _check_image(image: Any) -> None:
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) != 4 or 0 in shape or shape[3] not in (1, 3, 4):
        came = f"an image of shape {shape}" if shape else "no image"
        raise PictureError(f"{came} came in; expected (pictures, height, width, 3): link an IMAGE with a picture in it")


def _pixels(image: Any) -> Picture:
    values = image[..., :3].detach().cpu().float().numpy()
    if not np.isfinite(values).all():
        raise PictureError(
            "the image holds values that are no numbers; expected 0 to 1: look at the node it comes from"
        )
    pixels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def pictures_of(image: Any) -> Iterator[Picture]:
    """Every picture of an IMAGE, one by one; what the host raises to stop a run goes through. PictureError."""
    _check_image(image)
    for each in image:
        stop_if_asked()
        yield _pixels(each)


def image_of(frames: list[Picture]) -> Any:
    """Frames (H, W, 3) as an IMAGE (B, H, W, 3) float32."""
    torch: Any = import_module("torch")
    batch = torch.empty((len(frames), *frames[0].shape), dtype=torch.float32)
    for place, frame in enumerate(frames):
        batch[place] = torch.from_numpy(frame)
    return batch.div_(255)


def speech_of(audio: Any) -> Speech:
    """The first sound of an AUDIO as a voice at its own rate; SoundError where there is none, or too little."""
    from echomimic.media import speech_from_samples

    if audio is None:
        raise SoundError("no sound came in; expected an AUDIO: a video without a sound track gives none")
    wave = audio["waveform"]
    if wave.ndim != 3 or 0 in wave.shape:
        raise SoundError(
            f"a sound of shape {tuple(wave.shape)} came in; expected (1, channels, samples), none of them 0"
        )
    if wave.shape[0] > 1:
        note("first_sound_of_batch", "{count} sounds came in: the first is the voice", count=wave.shape[0])
    samples = wave[0].detach().cpu().float().numpy().T
    return speech_from_samples(np.ascontiguousarray(samples), int(audio["sample_rate"]), "the voice")


def audio_of(audio: Any, seconds: float) -> dict[str, Any]:
    """The AUDIO cut, or continued with silence, to the length of the video."""
    torch: Any = import_module("torch")
    rate, wave = int(audio["sample_rate"]), audio["waveform"][:1]
    wanted = round(seconds * rate)
    more = max(0, wanted - wave.shape[-1])
    return {"waveform": torch.nn.functional.pad(wave[..., :wanted], (0, more)), "sample_rate": rate}


def video_of(path: Path) -> Any:
    """A finished file as a VIDEO, which core nodes copy without decoding it."""
    return import_module("comfy_api.latest").InputImpl.VideoFromFile(str(path))


def box_of(found: Any, number: int) -> tuple[float, float, float, float]:
    """Left, top, width and height of a face in the host's BOUNDING_BOX: one, a list, or a list for each image.

    It is number `number` from the left, the largest where that is 0, of the first image; FaceError without it.
    """
    while isinstance(found, list) and found and isinstance(found[0], list):
        found = found[0]
    boxes = sorted([found] if isinstance(found, dict) else found, key=lambda box: box["x"])
    if not boxes or number > len(boxes):
        raise FaceError(f"{len(boxes)} bounding boxes came in; expected at least {max(1, number)}: one round the face")
    box = boxes[number - 1] if number else max(boxes, key=lambda each: each["width"] * each["height"])
    return float(box["x"]), float(box["y"]), float(box["width"]), float(box["height"])


def landmarks_of(found: Any, fps: float) -> LandmarkTrack:
    """The host's FACE_LANDMARKS, frames of faces, as a track: the first face of each frame."""
    from echomimic.motion.schema import check_motion
    from echomimic.signals import fill_gaps

    height, width = found["canvas"]
    faces = [_face(frame) for frame in found["frames"]]
    known = np.array([face is not None for face in faces], bool)
    if not known.any():
        raise MotionError("the face landmarks hold no face in any frame; expected at least one")
    points = np.stack([np.zeros((478, 3), np.float32) if face is None else face for face in faces])
    track = LandmarkTrack(fill_gaps(points, known), (int(width), int(height)), fps, known)
    check_motion(track)
    return track


def _face(frame: list[dict[str, Any]]) -> Floats | None:
    """(478, 3) pixels of the first face: x and y as they are, depth by the side of the 3-D points."""
    if not frame:
        return None
    flat = np.asarray(frame[0]["landmarks_xy"], np.float32)
    deep = np.asarray(frame[0]["landmarks_3d"], np.float32)
    if flat.shape != (478, 2) or deep.shape != (478, 3):
        raise MotionError(f"face landmarks of shape {flat.shape}; expected (478, 2): MediaPipe's face mesh with irises")
    across = np.linalg.norm(np.ptp(flat, axis=0)) / max(1e-6, float(np.linalg.norm(np.ptp(deep[:, :2], axis=0))))
    points: Floats = np.concatenate([flat, deep[:, 2:] * across], axis=1).astype(np.float32)
    return points
