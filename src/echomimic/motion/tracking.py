"""Track a person in a video: the face, or body and hands, at the video's true frame rate."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from echomimic.errors import FaceError, MotionError
from echomimic.landmarks.body import Body, read_body
from echomimic.landmarks.detectors import body_landmarker, face_landmarker
from echomimic.landmarks.face import Face, find_faces, find_upright_faces, shrink, turn_values
from echomimic.media import Video, read_video
from echomimic.motion.time_edits import Track, frames_at
from echomimic.notes import note
from echomimic.signals import fill_gaps, runs
from echomimic.types import Floats, LandmarkTrack, Motion, Picture, PoseTrack, Progress

MOST_PEOPLE = 6
LEAST_SEEN = 0.1
"""Smallest fraction of frames in which the person must be seen; less would be mostly interpolation."""
_LONGEST_SIDE = 1280
"""Larger frames are shrunk first: the landmarker sees 192 pixels of face in any case."""
_SEARCHED = (0, 12, 40)
"""Number of frames that are searched thoroughly for people, until a frame shows enough of them."""
LONG_GAP = 0.3
"""Seconds for which a hidden hand is interpolated; after that it counts as gone."""
_WINDOW = 3.0
"""Side of the window in which the face is tracked, in face sizes."""
_PATIENCE = 3
_SEARCHED_AGAIN = frozenset((12, *range(24, 240, 24), *range(240, 10_000, 120)))
"""Frames without the face after which the whole frame is searched thoroughly again."""
_EVEN = 0.2
"""Frames whose time differs from the even grid by less than this fraction of a frame are used unchanged."""


@dataclass(frozen=True)
class _Person:
    """The person to track: the box of the face in the first frame that shows it, and the number of faces there."""

    box: tuple[float, float, float, float]
    people: int


@dataclass(frozen=True)
class _TurnedVideo(Video):
    """The video `source` with its frames turned by `turn` quarters counter-clockwise."""

    source: Video
    turn: int

    def frames(self, start: float = 0.0) -> Iterator[tuple[float, Picture]]:
        for second, pixels in self.source.frames(start):
            yield second, np.ascontiguousarray(np.rot90(pixels, self.turn))


def upright_video(video: Video) -> Video:
    """The video, with its frames turned and a note if people in it are sideways or upside down."""
    return _choose(video, None)[0]


def track_video(
    source: str | Path | Video,
    pose: bool = False,
    person: int | None = None,
    progress: Progress | None = None,
    keep_start: bool = True,
) -> Motion:
    """Track the face of a person in a video, or body, hands and face with `pose`.

    `person` counts faces from the left in the first frame that shows one, starting at 1; by default the largest is
    tracked. Frames without the person are interpolated, marked as not valid and reported. A video with people
    sideways or upside down is turned, with a note. Raises FaceError if nobody is seen, MotionError if the person is
    seen in less than a tenth of the frames, VideoError if the file cannot be read.
    """
    video, who = _choose(source if isinstance(source, Video) else read_video(source), person)
    lead = round(video.start * video.fps) if keep_start else 0
    rows: list[Floats | Body | None] = []
    times: list[float] = []
    follow = _follow_body if pose else _follow_face
    for second, row in follow(video, who):
        times.append(second)
        rows.append(row)
        if progress:
            progress(len(rows), max(video.count, len(rows)))
    known = np.array([row is not None for row in rows])
    _check_seen(known, video.path)
    image_size = (video.width, video.height)
    if pose:
        seen = [row for row in rows if isinstance(row, Body)]
        return _even(_pose_track(seen, known, video.fps, image_size), times, lead)
    points = np.zeros((len(rows), 478, 3), np.float32)
    points[known] = np.stack([row for row in rows if isinstance(row, np.ndarray)])
    return _even(LandmarkTrack(fill_gaps(points, known), image_size, video.fps, known), times, lead)


def _choose(video: Video, person: int | None) -> tuple[Video, _Person]:
    """The video, turned if necessary, and the person to track, chosen in the first frame that shows enough faces."""
    for index, (_, pixels) in enumerate(video.frames()):
        if index in _SEARCHED:
            small, scale = shrink(pixels, _LONGEST_SIDE)
            turn, faces = find_upright_faces(small, MOST_PEOPLE)
            if len(faces) >= (person or 1):
                return _turned(video, turn), _chosen(faces, person, scale, video.path)
        if index >= _SEARCHED[-1]:
            break
    if person is not None and person > 1:
        raise FaceError(f"{video.path} shows fewer than {person} faces in its first frames; expected person {person}")
    return video, _Person((0, 0, video.width, video.height), 1)  # nobody yet: the whole picture is the window


def _turned(video: Video, turn: int) -> Video:
    if not turn:
        return video
    note(
        "video_turned",
        "people in {name} are {how}: the video is turned by {degrees} degrees{way}",
        name=video.path.name,
        **turn_values(turn),
    )
    width, height = (video.width, video.height) if turn == 2 else (video.height, video.width)
    return _TurnedVideo(**{**vars(video), "width": width, "height": height}, source=video, turn=turn)


def _chosen(faces: list[Face], person: int | None, scale: float, path: Path) -> _Person:
    number = person or 1 + max(range(len(faces)), key=lambda i: faces[i].size)
    if len(faces) > 1 and person is None:
        note(
            "largest_face_followed",
            "{name} shows {count} faces; the largest is followed, number {number} (`person` N takes another)",
            name=path.name,
            count=len(faces),
            number=number,
        )
    x, y, w, h = (side / scale for side in faces[number - 1].box)
    return _Person((x, y, w, h), len(faces))


def _follow_face(video: Video, who: _Person) -> Iterator[tuple[float, Floats | None]]:
    """Landmarks (478, 3) in pixels of the video for each frame, or None."""
    follower = _Follower(who)
    for second, pixels in video.frames():
        yield second, follower.track(pixels)


class _Follower:
    """Tracks one face in a window that moves with it, so that small faces are found and neighbouring ones are not."""

    def __init__(self, who: _Person) -> None:
        x, y, w, h = who.box
        self.centre, self.size = np.array((x + w / 2, y + h / 2)), max(w, h)
        self.people = who.people
        self.missed = 0
        self._open()

    def _open(self) -> None:
        """Start a new landmarker for a window that has moved, since a landmarker remembers positions in its window."""
        self.find = face_landmarker(video=True, most=1 if self.people == 1 else 2)
        self.window = (self.centre - _WINDOW * self.size / 2, self.centre + _WINDOW * self.size / 2)

    def track(self, pixels: Picture) -> Floats | None:
        """The face's landmarks in this frame, or None."""
        height, width = pixels.shape[:2]
        left, top = (int(side) for side in np.clip(self.window[0], 0, (width - 2, height - 2)))
        right, bottom = (int(side) for side in np.clip(self.window[1], (left + 2, top + 2), (width, height)))
        small, scale = shrink(pixels[top:bottom, left:right], _LONGEST_SIDE)
        shift = np.array((left, top, 0), np.float32)
        faces = [points / np.float32(scale) + shift for points in self.find(small)]
        best = min(faces, key=self._distance, default=None)
        if best is None or (self.people > 1 and self._distance(best) > self.size):
            self._miss(pixels)
            return None
        self.centre, self.size, self.missed = best[:, :2].mean(axis=0), float(np.ptp(best[:, :2], axis=0).max()), 0
        if self._is_off():
            self._open()
        return best

    def _distance(self, points: Floats) -> float:
        return float(np.linalg.norm(points[:, :2].mean(axis=0) - self.centre))

    def _is_off(self) -> bool:
        """Whether the face has left the middle of its window, or the window no longer suits its size."""
        side = float((self.window[1] - self.window[0]).max())
        off = np.abs(self.centre - (self.window[0] + self.window[1]) / 2).max()
        return bool(off > side / 4 or not side / 6 < self.size < side * 0.6)

    def _miss(self, pixels: Picture) -> None:
        """Widen the window after a few frames without exactly one face; search the whole frame, less and less often."""
        self.missed += 1
        if self.missed == _PATIENCE and self.people == 1:
            self.window = (np.zeros(2), np.full(2, np.inf))
        if self.missed in _SEARCHED_AGAIN:
            small, scale = shrink(pixels, _LONGEST_SIDE)
            faces = [face.landmarks / np.float32(scale) for face in find_faces(small, MOST_PEOPLE)]
            best = min(faces, key=self._distance, default=None)
            if best is not None and (self.people == 1 or self._distance(best) < 3 * self.size):
                self.centre, self.size = best[:, :2].mean(axis=0), float(np.ptp(best[:, :2], axis=0).max())
                self._open()


def _follow_body(video: Video, who: _Person) -> Iterator[tuple[float, Body | None]]:
    """Body key points for each frame, or None; among several people only those of one vertical strip."""
    find, (left, right) = body_landmarker(video=True), _strip(who, video.width)
    for second, pixels in video.frames():
        small, _ = shrink(pixels[:, left:right], _LONGEST_SIDE)
        found = read_body(find(small))
        yield second, None if found is None else _in_whole(found, left / video.width, (right - left) / video.width)


def _strip(who: _Person, width: int) -> tuple[int, int]:
    if who.people == 1:
        return 0, width
    x, _, w, _ = who.box
    reach = 2.5 * w
    return max(0, int(x + w / 2 - reach)), min(width, int(x + w / 2 + reach))


def _in_whole(found: Body, left: float, fraction: float) -> Body:
    """Key points that are fractions of a strip, as fractions of the whole picture."""
    scale, shift = np.array((fraction, 1, 1), np.float32), np.array((left, 0, 0), np.float32)
    return Body(*(np.asarray(part * scale + shift, np.float32) for part in (found.body, found.hands, found.face)))


def _check_seen(known: npt.NDArray[np.bool_], path: Path) -> None:
    if not known.any():
        raise FaceError(f"{path} shows nobody in any of its {len(known)} frames; expected a person seen from the front")
    if known.mean() < LEAST_SEEN:
        raise MotionError(
            f"{path} shows a person in {known.mean():.0%} of its frames; expected at least {LEAST_SEEN:.0%}: cut it "
            "to where somebody is seen"
        )
    if not known.all():
        note(
            "frames_without_person",
            "{name}: {missing} of {total} frames show nobody, and are interpolated",
            name=path.name,
            missing=int((~known).sum()),
            total=len(known),
        )


def _pose_track(seen: list[Body], known: npt.NDArray[np.bool_], fps: float, image_size: tuple[int, int]) -> PoseTrack:
    def part(name: str) -> Floats:
        values = np.stack([getattr(body, name) for body in seen])
        full = np.zeros((len(known), *values.shape[1:]), np.float32)
        full[known] = values
        return fill_gaps(full, known)

    track = PoseTrack(part("body"), part("hands"), part("face"), fps, image_size)
    hands = np.stack([_hand_without_gaps(track.hands[:, side], side, fps) for side in (0, 1)], axis=1)
    return PoseTrack(track.body, hands, track.face, fps, image_size)


def _hand_without_gaps(hand: Floats, side: int, fps: float) -> Floats:
    """Interpolate short gaps of a hand; in long ones its score is 0, so that nothing is drawn."""
    seen = hand[..., 2].max(axis=1) > 0
    if seen.all() or not seen.any():
        return hand
    filled = fill_gaps(hand, seen)
    for first, last in runs(~seen):
        if last - first > LONG_GAP * fps:
            filled[first:last] = 0
    note(
        "hand_hidden",
        "the {side} hand is hidden in {hidden} of {total} frames",
        side=("left", "right")[side],
        hidden=int((~seen).sum()),
        total=len(seen),
    )
    return filled


def _even(track: Track, times: list[float], lead: int) -> Track:
    """Put the track on an even grid of frames, with the first frame held for `lead` frames before it."""
    if lead:
        seconds = lead / track.fps
        note(
            "video_starts_late",
            "the first picture is held for {seconds:.2f} s, until the video starts",
            seconds=seconds,
        )
    grid = times[0] + np.arange(-lead, len(times)) / track.fps
    if np.abs(np.array(times) - grid[lead:]).max() * track.fps < _EVEN:
        return frames_at(track, np.maximum(np.arange(-lead, len(times)), 0).astype(float)) if lead else track
    note(
        "frame_rate_varies",
        "the video's frame rate varies; its frames were put on an even {fps:.3g} a second",
        fps=track.fps,
    )
    return frames_at(track, np.interp(grid, times, np.arange(len(times))))
