"""The engine that needs no weights: the photo itself is moved, frame by frame, on a few CPU threads."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.landmarks.crop import Crop, frame_portrait
from echomimic.landmarks.face import Face, pick_face
from echomimic.mesh.background import inpaint_background, person_matte
from echomimic.mesh.landmarks_to_curves import read_curves
from echomimic.mesh.renderer import Renderer
from echomimic.mesh.speech_to_face import predict_curves
from echomimic.motion.clip_timing import clip_length, clip_times
from echomimic.motion.regions import combine_curves
from echomimic.options import Options
from echomimic.signals import sample_at
from echomimic.types import Curves, Floats, LandmarkTrack, Motion, Picture, Portrait, Progress, Speech

AHEAD = 3
"""Frames per worker that may be finished before the encoder takes them: enough to keep every core busy."""


@dataclass(frozen=True)
class Stage:
    """A portrait set up for rendering: its scene, how it is framed, and the face that speaks."""

    scene: Renderer
    framing: Crop
    face: Face


class MeshEngine:
    """An `Engine` on numpy and OpenCV. Keeps the last portrait set up, for many clips of the same person."""

    def __init__(self) -> None:
        self._staged: tuple[Picture, object, Stage] | None = None

    def frames(
        self,
        portrait: Portrait,
        speech: Speech,
        motion: Motion | None,
        options: Options,
        progress: Progress | None = None,
    ) -> Iterator[Picture]:
        """Yield (H, W, 3) frames of the portrait speaking; `motion` replaces what the voice would have moved."""
        curves = self.curves(speech, motion, options)
        scene = self.stage(portrait, options).scene
        yield from _render(scene, curves, options.workers or os.cpu_count() or 1, progress)

    def track(self, portrait: Portrait, speech: Speech, motion: Motion | None, options: Options) -> LandmarkTrack:
        """The motion that `frames` would render, as landmarks (T, 478, 3) on the video's canvas, with its curves."""
        curves = self.curves(speech, motion, options)
        stage = self.stage(portrait, options)
        points = np.stack([stage.scene.landmarks(row) for row in curves.values])
        image_size = (stage.framing.width, stage.framing.height)
        return LandmarkTrack(points, image_size, curves.fps, np.ones(len(points), bool), curves)

    def curves(self, speech: Speech, motion: Motion | None, options: Options) -> Curves:
        """The curves to render: the motion's own at the clip's rate and length, or those of the voice."""
        frames = clip_length(speech, motion, options)
        if motion is None:
            return predict_curves(speech, options, frames)
        if not isinstance(motion, LandmarkTrack):
            raise MotionError("the motion is a pose track; expected face landmarks: preset v2 takes pose tracks")
        curves = _at(motion.curves or read_curves(motion), clip_times(motion, frames, options), options.fps)
        if motion.parts is None:
            return curves
        return combine_curves(predict_curves(speech, options, frames), curves, motion.parts)

    def stage(self, portrait: Portrait, options: Options) -> Stage:
        """Find the face, frame the picture and build its scene; the last one is kept."""
        wanted = _stage_key(options)
        if self._staged is None or self._staged[0] is not portrait.pixels or self._staged[1] != wanted:
            self._staged = (portrait.pixels, wanted, _set_up(portrait, options))
        return self._staged[2]


def _stage_key(options: Options) -> object:
    """The options that a stage depends on, besides the picture."""
    place = (options.framing, options.size, options.face, options.face_box)
    return place, options.crop_margin, options.still_background


def _set_up(portrait: Portrait, options: Options) -> Stage:
    face = pick_face(portrait, options)
    framing = frame_portrait(portrait, face, options)
    pixels, landmarks = framing.cut(portrait.pixels), framing.points(face.landmarks)
    matte = _matte(portrait, framing, pixels, landmarks) if options.still_background else None
    plate = None if matte is None else inpaint_background(pixels, matte)
    return Stage(Renderer(pixels, landmarks, matte, plate), framing, face)


def _matte(portrait: Portrait, framing: Crop, pixels: Picture, landmarks: Floats) -> Floats | None:
    """The picture's own transparency where it has one, else the segmented person."""
    if portrait.alpha is not None:
        alpha = np.asarray(framing.cut(portrait.alpha), np.float32) / 255
        if alpha.min() < 0.5:
            return alpha
    return person_matte(pixels, landmarks)


def _at(curves: Curves, when: npt.NDArray[np.float64], fps: float) -> Curves:
    """The curves at fractional frame numbers."""
    when = np.clip(when, 0, len(curves) - 1)
    return Curves(sample_at(curves.values.astype(np.float64), when).astype(np.float32), fps)


def _render(scene: Renderer, curves: Curves, workers: int, progress: Progress | None) -> Iterator[Picture]:
    """Frames in order from a few threads, never more than a handful ahead of whoever takes them."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one frame per thread beats one frame on many threads
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mesh")
    waiting: deque[Future[Picture]] = deque()
    total, sent, done = len(curves), 0, 0
    try:
        while done < total:
            while sent < total and len(waiting) < AHEAD * workers:
                waiting.append(pool.submit(scene.frame, curves.values[sent]))
                sent += 1
            yield waiting.popleft().result()
            done += 1
            if progress:
                progress(done, total)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(threads)
