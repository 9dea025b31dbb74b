"""The engine that needs no weights: it warps the photo itself, frame by frame, on a few CPU threads."""

import os
import zlib
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.cancellation import check_cancelled
from echomimic.engines import WHOLE, Part
from echomimic.errors import MotionError
from echomimic.landmarks.crop import Crop, frame_portrait
from echomimic.landmarks.detectors import release_networks
from echomimic.landmarks.face import Face, LocatedFace, locate_face
from echomimic.landmarks.topology import EYES
from echomimic.mesh.background import inpaint_background, person_matte
from echomimic.mesh.eyelids import open_eyes
from echomimic.mesh.landmarks_to_curves import read_curves
from echomimic.mesh.renderer import Renderer, fitted_rig
from echomimic.mesh.rig import Rig
from echomimic.mesh.speech_curves import LONG, SpeechCurves, predict_curves, stretches
from echomimic.mesh.speech_to_face import SpeechFeatures
from echomimic.motion.spatial_edits import combine_curves
from echomimic.motion.time_edits import clip_length, clip_times
from echomimic.notes import Note, collect_notes, emit, note
from echomimic.options import Options
from echomimic.presets import Preset, find_preset
from echomimic.signals import sample_at
from echomimic.types import Curves, Floats, LandmarkTrack, Motion, Picture, Portrait, Progress, Speech

QUEUED = 3
"""Frames per worker that may be finished before the encoder takes them: enough to keep every core busy."""
MEMORY_MB = 215
"""Resident memory of the engine without what grows with the picture."""
BYTES_PER_PIXEL = 160
"""Memory of the scene and of queued frames for each pixel of the video."""


@dataclass(frozen=True)
class PreparedPortrait:
    """A portrait, turned upright, with its face and its crop; the scene is built when it is first used."""

    portrait: Portrait
    face: Face
    crop: Crop
    still_background: bool
    notes: tuple[Note, ...] = ()

    @cached_property
    def rig(self) -> Rig:
        """The rig of the face, in pixels of the video; made sooner than the renderer, which has the same."""
        return fitted_rig(self.crop.cut(self.portrait.pixels), self.crop.points(self.face.landmarks))

    @cached_property
    def scene(self) -> Renderer:
        """The renderer of this portrait."""
        pixels, landmarks = self.crop.cut(self.portrait.pixels), self.crop.points(self.face.landmarks)
        matte = _matte(self.portrait, self.crop, pixels, landmarks) if self.still_background else None
        return Renderer(pixels, landmarks, matte, None if matte is None else inpaint_background(pixels, matte))


class MeshEngine:
    """An `Engine` on numpy and OpenCV. Keeps the last prepared portrait, for many clips of the same person."""

    def __init__(self) -> None:
        self._prepared: tuple[Portrait, object, PreparedPortrait] | None = None

    @property
    def preset(self) -> Preset:
        """The preset mesh."""
        return find_preset("mesh")

    def prepare(
        self,
        portrait: Portrait,
        speech: Speech,
        motion: Motion | None,
        options: Options,
        *,
        align: bool = False,
        face: Face | None = None,
    ) -> "MeshRender":
        """Find the face, unless it is given, and choose the crop and the length of the clip.

        Curves are relative to the portrait, so there is nothing to align. Raises FaceError, MotionError.
        """
        if motion is not None and not isinstance(motion, LandmarkTrack):
            raise MotionError(
                "the motion is a pose track; expected face landmarks: preset v2 takes pose tracks",
                code="motion_wrong_kind",
            )
        with collect_notes() as notes:
            prepared = self.prepare_portrait(portrait, options, face)
            num_frames = clip_length(speech, motion, options)
        return MeshRender(prepared, speech, motion, options, num_frames, tuple(notes))

    def prepare_portrait(self, portrait: Portrait, options: Options, face: Face | None = None) -> PreparedPortrait:
        """Find the face, unless it is given, and crop the picture; the last prepared portrait is kept.

        The picture is turned if its face is sideways or upside down.
        """
        place = (options.framing, options.size, options.face, options.face_box, options.crop_margin)
        key = (place, options.still_background)
        if self._prepared and self._prepared[0] is portrait and self._prepared[1] == key:
            for made in self._prepared[2].notes:
                emit(made)
        else:
            self._prepared = (portrait, key, _prepared(portrait, options, face))
        return self._prepared[2]


def _prepared(portrait: Portrait, options: Options, face: Face | None) -> PreparedPortrait:
    with collect_notes() as notes:
        found = locate_face(portrait, options) if face is None else LocatedFace(portrait, face)
        _note_shut_eyes(found)
    crop = frame_portrait(found.portrait, found.face, options)
    return PreparedPortrait(found.portrait, found.face, crop, options.still_background, tuple(notes))


def _note_shut_eyes(found: LocatedFace) -> None:
    if len(open_eyes(np.asarray(found.face.landmarks, np.float64))) < len(EYES):
        note(
            "eyes_shut",
            "an eye in {name} is shut and will stay shut: use a picture with open eyes",
            name=found.portrait.name,
        )


@dataclass(frozen=True)
class MeshRender:
    """A prepared run (`echomimic.engines.Render`); `given` is the user's motion."""

    prepared: PreparedPortrait
    speech: Speech
    given: LandmarkTrack | None
    options: Options
    num_frames: int
    warnings: tuple[Note, ...] = field(default=())

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the video."""
        return self.crop.width, self.crop.height

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.options.fps

    @property
    def crop(self) -> Crop:
        """The part of the portrait that the video shows."""
        return self.prepared.crop

    @property
    def memory_mb(self) -> int:
        """Estimated peak memory of the process in megabytes."""
        return MEMORY_MB + self.crop.width * self.crop.height * BYTES_PER_PIXEL // 2**20

    @cached_property
    def curves(self) -> Curves:
        """The curves that are rendered."""
        return clip_curves(self.speech, self.given, self._own_options(), self.num_frames)

    def _rows(self, part: Part) -> Iterator[Floats]:
        """The rows of curves of a part; those of a long voice are computed as they are needed."""
        end = part.end(self.num_frames)
        if self.given is not None or self.num_frames / self.fps <= LONG or "curves" in vars(self):
            yield from self.curves.values[part.first : end]
            return
        release_networks()  # nothing needs them for the minutes or hours to come
        for first, last in stretches(self.num_frames, self.fps, part.first):
            if first < end:
                yield from self._speech_curves.stretch(first, last).values[max(0, part.first - first) : end - first]

    @cached_property
    def _speech_curves(self) -> SpeechCurves:
        return SpeechCurves(self.speech, self._own_options(), self.num_frames)

    def _own_options(self) -> Options:
        return own_options(self.options, self.prepared.portrait, self.speech)

    @cached_property
    def motion(self) -> LandmarkTrack:
        """The rendered motion: landmarks (T, 478, 3) in pixels of the video, with its curves."""
        points = np.stack([self._landmarks(row) for row in self.curves.values])
        return LandmarkTrack(points, self.size, self.fps, np.ones(len(points), bool), self.curves)

    def _landmarks(self, row: Floats) -> Floats:
        check_cancelled()
        return self.prepared.rig.points(row)

    def frames(self, progress: Progress | None = None, part: Part = WHOLE) -> Iterator[Picture]:
        """Yield (H, W, 3) frames of the portrait speaking."""
        workers = self.options.workers or os.cpu_count() or 1
        rows, scene = self._rows(part), self.prepared.scene
        with closing(_render(scene, rows, workers)) as frames:
            for done, frame in enumerate(frames, part.first + 1):
                yield frame
                if progress:
                    progress(done, self.num_frames)


def load_engine(*_: object) -> MeshEngine:
    """The engine of the preset mesh; it needs no weights, device or predictor."""
    return MeshEngine()


def own_options(options: Options, portrait: Portrait, speech: Speech) -> Options:
    """The options with a seed that depends on the picture, the voice and the seed.

    Otherwise every video would have the same path of the head. The same inputs and seed give the same frames.
    """
    what = repr((options.seed, portrait.pixels.shape, round(speech.duration, 2)))
    mixed = zlib.crc32(portrait.pixels[::16, ::16].tobytes(), zlib.crc32(what.encode()))
    return replace(options, seed=mixed & 0x7FFFFFFF)


def clip_curves(
    speech: Speech,
    motion: LandmarkTrack | None,
    options: Options,
    frames: int,
    features: SpeechFeatures | None = None,
) -> Curves:
    """The curves of a clip: the motion's at the clip's rate and length, or predicted from the voice.

    If the motion drives only some regions of the face, the voice drives the others. `features` are those of the voice,
    if it was analyzed before.
    """
    if motion is None:
        return predict_curves(speech, options, frames, features)
    curves = _sample_curves(motion.curves or read_curves(motion), clip_times(motion, frames, options), options.fps)
    if motion.parts is None:
        return curves
    return combine_curves(predict_curves(speech, options, frames, features), curves, motion.parts)


def _matte(portrait: Portrait, crop: Crop, pixels: Picture, landmarks: Floats) -> Floats | None:
    """The alpha channel of the picture if it has one, else the segmented person."""
    if portrait.alpha is not None:
        alpha = np.asarray(crop.cut(portrait.alpha), np.float32) / 255
        if alpha.min() < 0.5:
            return alpha
    return person_matte(pixels, landmarks)


def _sample_curves(curves: Curves, when: npt.NDArray[np.float64], fps: float) -> Curves:
    """The curves at fractional frame numbers."""
    when = np.clip(when, 0, len(curves) - 1)
    return Curves(sample_at(curves.values.astype(np.float64), when).astype(np.float32), fps)


def _render(scene: Renderer, rows: Iterator[Floats], workers: int) -> Generator[Picture]:
    """Frames in order from a few threads, never more than a few ahead of the consumer."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one frame per thread beats one frame on many threads
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mesh")
    waiting: deque[Future[Picture]] = deque()
    try:
        while True:
            while len(waiting) < QUEUED * workers and (row := next(rows, None)) is not None:
                waiting.append(pool.submit(scene.frame, row))
            if not waiting:
                break
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(threads)
