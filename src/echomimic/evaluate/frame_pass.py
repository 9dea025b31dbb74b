"""Two passes over the frames of a clip: one for the face, one for the rest. Only a few thumbnails are kept."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from echomimic.errors import FaceError, MotionError
from echomimic.evaluate.catalogue import EvaluationSettings
from echomimic.evaluate.landmarks import Faces, HandDetections, HandDetector, read_faces
from echomimic.evaluate.picture import PictureAccumulator, PictureStatistics
from echomimic.media import Video, read_video
from echomimic.motion.tracking import track_video, upright_video
from echomimic.notes import note
from echomimic.types import LandmarkTrack, Picture, Progress

THUMB = 160
"""Height of a thumbnail in pixels."""
_NEEDS_FACE = frozenset({"sync", "face", "picture", "reference", "expression", "csim", "syncnet", "efid"})


@dataclass(frozen=True)
class FramePass:
    """The results of the passes; None for groups that were not requested. `sheet` holds evenly spaced thumbnails."""

    video: Video
    faces: Faces | None
    statistics: PictureStatistics
    hands: HandDetections | None
    sheet: tuple[Picture, ...]


def pass_frames(path: Path, settings: EvaluationSettings, progress: Progress | None = None) -> FramePass:
    """Run both passes. Raises VideoError if the file cannot be read; without a face, `faces` is None."""
    video = read_video(path)
    faces = None
    if _NEEDS_FACE & set(settings.groups):
        video = upright_video(video)
        faces = track_face(video, _part(progress, 0, video.count))
    statistics, hands, sheet = _accumulate(video, faces, settings, _part(progress, video.count, video.count))
    return FramePass(video, faces, statistics, hands, sheet)


def track_face(video: Video, progress: Progress | None = None) -> Faces | None:
    """Track the face of a video; None, and a note, if there is none."""
    try:
        track = track_video(video, progress=progress, keep_start=False)
    except (FaceError, MotionError) as error:
        note(error.code, "{problem}", problem=error)
        return None
    assert isinstance(track, LandmarkTrack)
    return read_faces(track)


def _accumulate(
    video: Video, faces: Faces | None, settings: EvaluationSettings, progress: Progress | None
) -> tuple[PictureStatistics, HandDetections | None, tuple[Picture, ...]]:
    wanted = set(np.linspace(0, video.count - 1, settings.sheet).round().astype(int).tolist())
    step = max(1, round(video.fps / settings.hand_rate))
    pictures, sheet = PictureAccumulator(video.fps), []
    hands = HandDetector() if settings.wants("hands") else None
    for index, (_, pixels) in enumerate(video.frames()):
        pictures.add(pixels, _points(faces, index))
        if hands is not None and index % step == 0:
            hands.add(pixels)
        if index in wanted:
            sheet.append(_thumb(pixels))
        if progress:
            progress(index + 1, video.count)
    return pictures.result(), hands.result() if hands else None, tuple(sheet)


def _points(faces: Faces | None, index: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]] | None":
    if faces is None or index >= len(faces.track) or not faces.valid[index]:
        return None
    return faces.track.points[index]


def _thumb(pixels: Picture) -> Picture:
    width = max(1, round(pixels.shape[1] * THUMB / pixels.shape[0]))
    return np.asarray(cv2.resize(pixels, (width, THUMB), interpolation=cv2.INTER_AREA), np.uint8)


def _part(progress: Progress | None, before: int, count: int) -> Progress | None:
    """Progress of one of the two passes as a part of both."""
    if progress is None:
        return None

    def step(done: int, _total: int) -> None:
        progress(before + min(done, count), 2 * count)

    return step
