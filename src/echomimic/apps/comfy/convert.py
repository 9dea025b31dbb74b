"""Conversions between the host's values (IMAGE, AUDIO, VIDEO, BOUNDING_BOX, key points) and those of this package."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echomimic.apps.comfy import host
from echomimic.errors import EchoMimicError, FaceError, MotionError, PictureError, SoundError
from echomimic.notes import note
from echomimic.types import Floats, LandmarkTrack, Motion, Picture, Portrait, Speech

if TYPE_CHECKING:
    from echomimic.landmarks.crop import Crop


def portrait_of(image: Any) -> Portrait:
    """The first picture of an IMAGE (B, H, W, 1, 3 or 4) in 0..1, without transparency. Raises PictureError."""
    _check_image(image)
    if image.shape[0] > 1:
        note("first_image_of_batch", "{count} images are linked: the first is the portrait", count=image.shape[0])
    return Portrait(_pixels(image[0]))


def _check_image(image: Any) -> None:
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) != 4 or 0 in shape or shape[3] not in (1, 3, 4):
        came = f"an image of shape {shape}" if shape else "no image"
        raise PictureError(
            f"{came} is linked; expected (pictures, height, width, 3): link an IMAGE with a picture in it"
        )


def _pixels(image: Any) -> Picture:
    values = image[..., :3].detach().cpu().float().numpy()
    if not np.isfinite(values).all():
        raise PictureError("the image holds values that are not numbers; expected 0 to 1: check the node it comes from")
    pixels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def pictures_of(image: Any) -> Iterator[Picture]:
    """Yield every picture of an IMAGE; the host may stop the run in between. Raises PictureError."""
    _check_image(image)
    for each in image:
        host.stop_if_asked()
        yield _pixels(each)


def image_of(frames: list[Picture]) -> Any:
    """Frames (H, W, 3) as an IMAGE (B, H, W, 3) float32."""
    torch: Any = import_module("torch")
    batch = torch.empty((len(frames), *frames[0].shape), dtype=torch.float32)
    for i, frame in enumerate(frames):
        batch[i] = torch.from_numpy(frame)
    return batch.div_(255)


def speech_of(audio: Any) -> Speech:
    """The first sound of an AUDIO as a voice at its own rate. Raises SoundError if there is none or it is too short."""
    from echomimic.media import speech_from_samples

    if audio is None:
        raise SoundError("no sound is linked; expected an AUDIO: a video without a sound track gives none")
    wave = audio["waveform"]
    if wave.ndim != 3 or 0 in wave.shape:
        raise SoundError(
            f"a sound of shape {tuple(wave.shape)} is linked; expected (1, channels, samples), none of them 0"
        )
    if wave.shape[0] > 1:
        note("first_sound_of_batch", "{count} sounds are linked: the first is the voice", count=wave.shape[0])
    samples = wave[0].detach().cpu().float().numpy().T
    return speech_from_samples(np.ascontiguousarray(samples), int(audio["sample_rate"]), "the voice")


def audio_of(audio: Any, seconds: float) -> dict[str, Any]:
    """The AUDIO cut or padded with silence to the length of the video."""
    torch: Any = import_module("torch")
    rate, wave = int(audio["sample_rate"]), audio["waveform"][:1]
    wanted = round(seconds * rate)
    more = max(0, wanted - wave.shape[-1])
    return {"waveform": torch.nn.functional.pad(wave[..., :wanted], (0, more)), "sample_rate": rate}


def video_of(path: Path) -> Any:
    """A finished file as a VIDEO, which core nodes copy without decoding it."""
    return import_module("comfy_api.latest").InputImpl.VideoFromFile(str(path))


def motion_of(folder: str, body: bool, fps: float, sources: Mapping[str, Any]) -> Motion | None:
    """The motion of a folder, a VIDEO, POSE_KEYPOINT or FACE_LANDMARKS, whichever is given; None if none is.

    Raises MotionError, also if several are given.
    """
    from echomimic.motion import load_motion

    given = {name: value for name, value in sources.items() if value is not None}
    if folder:
        given["folder"] = folder
    if len(given) > 1:
        raise MotionError(f"{' and '.join(sorted(given))} are linked; expected one source of motion: unlink the others")
    if "folder" in given:
        return load_motion(host.input_path(*Path(folder).parts), fps=fps)
    if "video" in given:
        return track_motion(lambda path: given["video"].save_to(str(path)), body)
    if "face_landmarks" in given:
        return landmarks_of(given["face_landmarks"], fps)
    if "pose_keypoints" not in given:
        return None
    with host.scratch(".json") as path, _rename_in_errors(path, "POSE_KEYPOINT"):  # OpenPose's JSON
        path.write_text(json.dumps(given["pose_keypoints"], default=float), encoding="utf-8")
        return load_motion(path, fps=fps)


def track_motion(save: Callable[[Path], object], body: bool) -> Motion:
    """The motion in the video that `save` writes to the given path; the host shows the progress and may stop it."""
    from echomimic.motion import track_video

    with host.scratch(".mp4") as path, _rename_in_errors(path, "the video"):
        save(path)
        return track_video(path, body, progress=host.HostProgress())


@contextmanager
def _rename_in_errors(path: Path, name: str) -> Iterator[None]:
    """Errors of the block call a temporary file by what it holds."""
    try:
        yield
    except EchoMimicError as error:
        raise type(error)(str(error).replace(str(path), name), code=error.code) from error


def box_of(found: Any, number: int) -> tuple[float, float, float, float]:
    """Left, top, width and height of a face in the host's BOUNDING_BOX: one box, a list, or a list for each image.

    It is number `number` from the left in the first image, or the largest if that is 0. Raises FaceError.
    """
    while isinstance(found, list) and found and isinstance(found[0], list):
        found = found[0]
    boxes = sorted([found] if isinstance(found, dict) else found, key=lambda box: box["x"])
    if not boxes or number > len(boxes):
        raise FaceError(
            f"{len(boxes)} bounding boxes are linked; expected at least {max(1, number)}: one around the face"
        )
    box = boxes[number - 1] if number else max(boxes, key=lambda each: each["width"] * each["height"])
    return float(box["x"]), float(box["y"]), float(box["width"]), float(box["height"])


def box_of_mask(mask: Any, portrait: Portrait) -> tuple[float, float, float, float]:
    """Left, top, width and height of what is white in a MASK (B, H, W), in the portrait's pixels. Raises FaceError."""
    white = np.asarray(mask.detach().cpu().numpy().reshape(-1, *mask.shape[-2:])[0] > 0.5)
    if not white.any():
        raise FaceError("the mask is black everywhere; expected white on the face: check the node it comes from")
    scale = portrait.height / white.shape[0], portrait.width / white.shape[1]
    edges = [np.flatnonzero(white.any(axis=axis))[[0, -1]] + (0, 1) for axis in (1, 0)]
    (top, bottom), (left, right) = (each * factor for each, factor in zip(edges, scale, strict=True))
    return float(left), float(top), float(right - left), float(bottom - top)


def mask_of(landmarks: Floats, crop: "Crop") -> Any:
    """The face in a crop as a MASK (1, H, W): 1 within the outline of the landmarks (478, 3) of the whole picture."""
    import cv2

    mask = np.zeros((crop.height, crop.width), np.float32)
    outline = cv2.convexHull(np.rint(crop.points(landmarks)[:, :2]).astype(np.int32))
    cv2.fillConvexPoly(mask, outline, (1.0,))
    return import_module("torch").from_numpy(mask)[None]


def made_box(box: tuple[float, float, float, float]) -> dict[str, int]:
    """A BOUNDING_BOX of left, top, width and height."""
    return dict(zip(("x", "y", "width", "height"), map(round, box), strict=True))


def landmarks_of(found: Any, fps: float) -> LandmarkTrack:
    """The host's FACE_LANDMARKS as a track of the first face of each frame. Raises MotionError."""
    from echomimic.motion import check_motion
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
    """The first face (478, 3) in pixels; its depth is scaled like the 3-D points to the 2-D points."""
    if not frame:
        return None
    flat = np.asarray(frame[0]["landmarks_xy"], np.float32)
    deep = np.asarray(frame[0]["landmarks_3d"], np.float32)
    if flat.shape != (478, 2) or deep.shape != (478, 3):
        raise MotionError(f"face landmarks of shape {flat.shape}; expected (478, 2): MediaPipe's face mesh with irises")
    across = np.linalg.norm(np.ptp(flat, axis=0)) / max(1e-6, float(np.linalg.norm(np.ptp(deep[:, :2], axis=0))))
    return np.concatenate([flat, deep[:, 2:] * across], axis=1).astype(np.float32)
