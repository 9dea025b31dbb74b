"""What the network is shown: the portrait as a picture of the right size, and what drives every frame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from echomimic.diffusion.condition_images import draw_motion, face_mask
from echomimic.diffusion.vae import FACTOR
from echomimic.errors import MotionError
from echomimic.landmarks.body import find_body
from echomimic.landmarks.crop import LONGEST, Crop, frame_crop, frame_full
from echomimic.landmarks.face import pick_face
from echomimic.motion.body_retarget import align_pose
from echomimic.motion.clip_timing import clip_times
from echomimic.motion.face_retarget import align_motion
from echomimic.motion.time_edits import frames_at
from echomimic.motion.validate import ALIGNED, face_overlap
from echomimic.notes import note
from echomimic.options import Options
from echomimic.presets import Preset
from echomimic.types import Floats, LandmarkTrack, Motion, Picture, Portrait, PoseTrack

SEAM = 0.08
"""Width of the seam of a face that is put back, as a share of the face picture."""
DRAWN_BYTES = 64 << 20
"""How much memory drawn pictures may take, to be drawn once and not at every step."""


@dataclass(frozen=True)
class Shot:
    """The portrait as the network sees it, and the way back: `whole` is the picture that a face is put back into."""

    picture: Picture
    mask: Picture | None
    framing: Crop
    whole: Picture | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what the network makes."""
        return self.picture.shape[1], self.picture.shape[0]


def take_shot(portrait: Portrait, options: Options, preset: Preset) -> Shot:
    """Frame the portrait: a face fills a square, a half body is the whole picture at its own shape."""
    if preset.drive == "hands":
        framing = _rounded(frame_full(portrait.width, portrait.height, options.size))
        return Shot(framing.cut(portrait.pixels), None, framing, None)
    face = pick_face(portrait, options)
    margin = options.crop_margin
    framing = _rounded(frame_crop(portrait.width, portrait.height, face, margin, options.size))
    points = framing.points(face.landmarks)[:, :2]
    box = (*points.min(0).tolist(), *points.max(0).tolist())
    mask = face_mask((framing.width, framing.height), box, options.mask_margin)
    whole = None if options.framing == "crop" else _whole(portrait)
    return Shot(framing.cut(portrait.pixels), mask, framing, whole)


def _rounded(framing: Crop) -> Crop:
    """The framing with sides that latents can have; said where the user would notice."""
    width, height = (max(FACTOR * 8, round(side / FACTOR) * FACTOR) for side in (framing.width, framing.height))
    if (width, height) != (framing.width, framing.height):
        note(
            "size_rounded",
            "{old_width} x {old_height} pixels become {width} x {height}: multiples of {factor}",
            old_width=framing.width,
            old_height=framing.height,
            width=width,
            height=height,
            factor=FACTOR,
        )
    return replace(framing, width=width, height=height)


def _whole(portrait: Portrait) -> Picture:
    longest = max(portrait.width, portrait.height)
    return frame_full(portrait.width, portrait.height, min(longest, LONGEST)).cut(portrait.pixels)


class PasteBack:
    """Puts made faces back into the whole picture, with a soft seam."""

    def __init__(self, shot: Shot, portrait: Portrait) -> None:
        if shot.whole is None:
            raise ValueError("a cropped shot has no picture to be put back into")
        self._whole, framing = shot.whole, shot.framing
        height, width = shot.whole.shape[:2]
        across, down = width / portrait.width, height / portrait.height
        left, right = (round(x * across) for x in (framing.left, framing.left + framing.source_width))
        top, bottom = (round(y * down) for y in (framing.top, framing.top + framing.source_height))
        self._size = (right - left, bottom - top)
        self._place = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
        self._part = slice(max(-top, 0), height - top), slice(max(-left, 0), width - left)
        edge = max(1, round(SEAM * min(self._size)))
        share = np.zeros((self._size[1], self._size[0]), np.float32)
        share[edge:-edge, edge:-edge] = 1
        blurred = cv2.blur(share, (2 * edge + 1, 2 * edge + 1), borderType=cv2.BORDER_CONSTANT)
        self._share = np.asarray(blurred, np.float32)[self._part][..., None]
        self._kept = self._whole[self._place] * (1 - self._share)

    def __call__(self, face: Picture) -> Picture:
        """The whole picture with this face: (H, W, 3) uint8."""
        how = cv2.INTER_AREA if self._size[0] < face.shape[1] else cv2.INTER_CUBIC
        made = cv2.resize(face, self._size, interpolation=how)[self._part]
        picture = self._whole.copy()
        picture[self._place] = np.rint(made * self._share + self._kept)
        return picture


def aligned_to_shot(motion: Motion, portrait: Portrait, preset: Preset, options: Options) -> Motion:
    """A driver's motion on the portrait's own face or body, on the canvas of the shot."""
    if isinstance(motion, PoseTrack):
        return align_pose(motion, find_body(portrait), (portrait.width, portrait.height))
    return align_motion(motion, *face_in_shot(portrait, preset, options))


def stands_elsewhere(motion: Motion, portrait: Portrait, preset: Preset, options: Options) -> bool:
    """Whether a face track would be drawn off the portrait's face. Body tracks are left as they stand."""
    if not isinstance(motion, LandmarkTrack):
        return False
    return face_overlap(motion, *face_in_shot(portrait, preset, options)) < ALIGNED


def face_in_shot(portrait: Portrait, preset: Preset, options: Options) -> tuple[Floats, tuple[int, int]]:
    """The portrait's landmarks (478, 3) in pixels of the shot, and the shot's width and height."""
    shot = take_shot(portrait, options, preset)
    return shot.framing.points(pick_face(portrait, options).landmarks), shot.size


def video_size(shot: Shot) -> tuple[int, int]:
    """Width and height of the video: of the whole picture where the face is put back into it."""
    return shot.size if shot.whole is None else (shot.whole.shape[1], shot.whole.shape[0])


def _check_kind(preset: Preset, motion: Motion | None) -> None:
    """MotionError where a preset cannot follow this kind of motion."""
    wanted, kind = (PoseTrack, "hand poses") if preset.drive == "hands" else (LandmarkTrack, "face landmarks")
    if isinstance(motion, wanted) or (motion is None and preset.drive == "mask"):
        return
    found = "no motion" if motion is None else f"a {type(motion).__name__}"
    raise MotionError(f"preset {preset.name} got {found}; expected a track of {kind}: give one with `motion`")


def room_mask(track: LandmarkTrack, size: tuple[int, int], margin: float) -> Picture:
    """A mask (H, W) round every place where the track's face is, as EMO masks a clip (Tian et al., 2024)."""
    seen = track.points[track.valid] if track.valid.any() else track.points
    points = seen[..., :2].reshape(-1, 2) * (np.array(size) / track.image_size)
    return face_mask(size, (*points.min(0).tolist(), *points.max(0).tolist()), margin)


class Drive:
    """The driving pictures of a clip, drawn as windows ask for them: (frames, H, W, 1 | 3) uint8.

    A mask is one picture for all frames; of a face track it takes the room in which the face moves.
    """

    def __init__(self, preset: Preset, shot: Shot, motion: Motion | None, frames: int, options: Options) -> None:
        _check_kind(preset, motion)
        self._mask = shot.mask if preset.drive == "mask" else None
        track = None if motion is None else frames_at(motion, clip_times(motion, frames, options), options.fps)
        if self._mask is not None:
            if isinstance(track, LandmarkTrack) and not options.exact:
                note(
                    "motion_used_as_mask",
                    "{preset} moves by the voice; of the motion it uses only the area in which the face moves",
                    preset=preset.name,
                )
                self._mask = np.maximum(self._mask, room_mask(track, shot.size, options.mask_margin))
            return
        assert track is not None
        width, height = shot.size
        room = max(32, DRAWN_BYTES // (width * height * 3))
        self._draw = lru_cache(room)(lambda frame: draw_motion(track, frame, (width, height)))

    @property
    def still(self) -> bool:
        """Whether one picture drives all frames."""
        return self._mask is not None

    def pictures(self, frames: Sequence[int]) -> Picture:
        """The driving pictures of these frames; of a still drive one, whatever is asked."""
        if self._mask is not None:
            return self._mask[None, :, :, None]
        return np.stack([self._draw(frame) for frame in frames])
