"""The conditions of the denoising network besides the voice: the reference picture and the driving pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from echomimic.diffusion.condition_images import draw_motion, face_mask
from echomimic.diffusion.vae import FACTOR
from echomimic.errors import MotionError
from echomimic.landmarks.body import find_body
from echomimic.landmarks.crop import LONGEST, Crop, frame_crop, frame_full
from echomimic.landmarks.face import Face, locate_face, upright_portrait
from echomimic.motion import preflight
from echomimic.motion.body_retarget import align_pose
from echomimic.motion.face_retarget import align_motion
from echomimic.motion.schema import without_nan
from echomimic.motion.validate import ALIGNED, face_overlap
from echomimic.notes import emit, note
from echomimic.options import Options
from echomimic.presets import Preset
from echomimic.types import Curves, Floats, LandmarkTrack, Motion, Picture, Portrait, PoseTrack

CACHE_BYTES = 64 << 20
"""Memory for drawn condition pictures, so that each is drawn once and not at every step."""


@dataclass(frozen=True)
class ConditioningFrame:
    """The portrait as the network sees it: `picture` (H, W, 3), cut out by `crop` of the `portrait`, turned upright.

    With a face: `face` in the portrait, `landmarks` (478, 3) in pixels of `picture`, and the `mask` (H, W) of the face.
    `whole` is the picture that a generated face is pasted back into; None if the video shows the crop.
    """

    portrait: Portrait
    picture: Picture
    crop: Crop
    face: Face | None = None
    landmarks: Floats | None = None
    mask: Picture | None = None
    whole: Picture | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what the network generates."""
        return self.picture.shape[1], self.picture.shape[0]

    @property
    def video_size(self) -> tuple[int, int]:
        """Width and height of the video."""
        return self.size if self.whole is None else (self.whole.shape[1], self.whole.shape[0])


def prepare_reference(portrait: Portrait, options: Options, preset: Preset) -> ConditioningFrame:
    """Crop the portrait: a square around the face, or the whole picture at its own shape for a half body."""
    if preset.uses_hands:
        portrait = upright_portrait(portrait)
        crop = _rounded(frame_full(portrait.width, portrait.height, options.size))
        return ConditioningFrame(portrait, crop.cut(portrait.pixels), crop)
    found = locate_face(portrait, options)
    portrait, face = found.portrait, found.face
    crop = _rounded(frame_crop(portrait.width, portrait.height, face, options.crop_margin, options.size))
    landmarks = crop.points(face.landmarks)
    mask = face_mask((crop.width, crop.height), _box(landmarks), options.mask_margin)
    whole = None if options.framing == "crop" else _whole(portrait)
    return ConditioningFrame(portrait, crop.cut(portrait.pixels), crop, face, landmarks, mask, whole)


def _box(points: Floats) -> tuple[float, float, float, float]:
    flat = points[..., :2].reshape(-1, 2)
    (left, top), (right, bottom) = flat.min(0), flat.max(0)
    return float(left), float(top), float(right), float(bottom)


def _rounded(crop: Crop) -> Crop:
    """The crop with sides that latents can have; a note if they change."""
    width, height = (max(FACTOR * 8, round(side / FACTOR) * FACTOR) for side in (crop.width, crop.height))
    if (width, height) != (crop.width, crop.height):
        note(
            "size_rounded",
            "{old_width} x {old_height} pixels become {width} x {height}: multiples of {factor}",
            old_width=crop.width,
            old_height=crop.height,
            width=width,
            height=height,
            factor=FACTOR,
        )
    return replace(crop, width=width, height=height)


def _whole(portrait: Portrait) -> Picture:
    longest = max(portrait.width, portrait.height)
    return frame_full(portrait.width, portrait.height, min(longest, LONGEST)).cut(portrait.pixels)


def fit_motion(motion: Motion, frame: ConditioningFrame, options: Options, preset: Preset, *, align: bool) -> Motion:
    """The motion on the portrait's own face or body, with notes about what will look wrong.

    A face track is aligned if it does not lie on the portrait's face, except with `exact`; `align` aligns any track.
    Raises MotionError if the preset cannot follow this kind of motion.
    """
    _check_kind(preset, motion)
    if isinstance(motion, PoseTrack):
        return _fit_body(motion, frame.portrait, align=align)
    assert frame.landmarks is not None
    motion = without_nan(motion)
    if align or (not options.exact and face_overlap(motion, frame.landmarks, frame.size) < ALIGNED):
        note("motion_aligned", "the motion is aligned to the portrait")
        motion = align_motion(motion, frame.landmarks, frame.size)
    if preset.conditioning == "landmarks":
        for warning in preflight(motion, size=frame.size, landmarks=frame.landmarks):
            emit(warning)
    elif not options.exact:
        note(
            "motion_used_as_mask",
            "{preset} moves by the voice; of the motion it uses only the area in which the face moves",
            preset=preset.name,
        )
    return motion


def _fit_body(motion: PoseTrack, portrait: Portrait, *, align: bool) -> PoseTrack:
    body, size = find_body(portrait), (portrait.width, portrait.height)
    if align:
        note("motion_aligned", "the motion is aligned to the portrait")
        motion = align_pose(motion, body, size)
    for warning in preflight(motion, size=size, body=body):
        emit(warning)
    return motion


def _check_kind(preset: Preset, motion: Motion) -> None:
    wanted, kind = (PoseTrack, "hand poses") if preset.uses_hands else (LandmarkTrack, "face landmarks")
    if not isinstance(motion, wanted):
        found = type(motion).__name__
        raise MotionError(
            f"preset {preset.name} got a {found}; expected a track of {kind}: give one with `motion`",
            code="motion_wrong_kind",
        )


def still_track(frame: ConditioningFrame, frames: int, fps: float) -> LandmarkTrack:
    """The portrait's own face without movement; the mask of a clip without a motion is drawn from it."""
    assert frame.landmarks is not None
    points = np.broadcast_to(frame.landmarks, (frames, *frame.landmarks.shape))
    return LandmarkTrack(points, frame.size, fps, np.ones(frames, bool), Curves.rest(frames, fps))


def motion_mask(track: LandmarkTrack, size: tuple[int, int], margin: float) -> Picture:
    """A mask (H, W) around every place where the track's face is, as EMO masks a clip (Tian et al., 2024)."""
    seen = track.points[track.valid] if track.valid.any() else track.points
    return face_mask(size, _box(seen[..., :2] * (np.array(size) / track.image_size)), margin)


class DrivingFrames:
    """The condition pictures of a clip, drawn on demand: (frames, H, W, 1 | 3) uint8.

    `motion` has one entry per frame of the clip. A mask is one picture for all frames: the portrait's face and, except
    with `exact`, every place of the motion's face; it needs no motion.
    """

    def __init__(self, preset: Preset, frame: ConditioningFrame, motion: Motion | None, options: Options) -> None:
        self._mask = frame.mask if preset.conditioning == "mask" else None
        if self._mask is not None:
            if isinstance(motion, LandmarkTrack) and not options.exact:
                self._mask = np.maximum(self._mask, motion_mask(motion, frame.size, options.mask_margin))
            return
        assert motion is not None
        width, height = frame.size
        most = max(32, CACHE_BYTES // (width * height * 3))
        self._draw = lru_cache(most)(lambda index: draw_motion(motion, index, (width, height)))

    @property
    def still(self) -> bool:
        """Whether one picture conditions all frames."""
        return self._mask is not None

    def pictures(self, frames: Sequence[int]) -> Picture:
        """The condition pictures of these frames; of a still one a single picture."""
        if self._mask is not None:
            return self._mask[None, :, :, None]
        return np.stack([self._draw(frame) for frame in frames])
