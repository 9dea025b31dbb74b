"""The hands at the motion editor: the track that V2 follows, its curves, and where V2 will put them."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from echomimic import motion
from echomimic.apps.web.face_motion import FaceMotion
from echomimic.apps.web.history import History
from echomimic.diffusion.condition_images import draw_motion
from echomimic.errors import FaceError
from echomimic.landmarks.body import Body, find_body
from echomimic.landmarks.topology import SHOULDERS
from echomimic.mesh.engine import MeshEngine, Stage
from echomimic.motion.clip_timing import clip_length, clip_times
from echomimic.motion.gestures import portrait_gestures
from echomimic.motion.time_edits import frames_at
from echomimic.notes import collect_notes
from echomimic.options import Options
from echomimic.types import Floats, Picture, Portrait, PoseTrack, Speech

_SURE = 0.5
"""Score from which a shoulder counts as seen."""
_OPAQUE, _SHADE = 0.85, 0.5
"""How much of the photo a drawn hand hides, and how much darker the photo is close to it: it is thin on gay cloth."""
_THICK, _ROUND = np.ones((2, 2), np.uint8), np.ones((9, 9), np.uint8)
_SAME = 1e-5


class HandsMotion:
    """What the V2 presets render: hands that gesture with the voice, or those of a loaded track.

    `options` are those of V2, for its frame rate is another than the face's. FaceError where no shoulders are seen.
    """

    table = motion.POSE_CURVES
    downward = ("left_y", "right_y")
    usual = 0.15
    far = False

    def __init__(self, portrait: Portrait, speech: Speech, options: Options, face: FaceMotion, frame: Options) -> None:
        self._portrait, self._speech, self._options = portrait, speech, options
        self._face, self._frame = face, frame
        self._body = shown_body(portrait)
        with collect_notes() as notes:
            self.heard = portrait_gestures(portrait, speech, options, self._body)
        self._notes = tuple(notes)
        self.history = History(self.heard)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing of the track, a line each: also what its edits have made too fast to be drawn well."""
        return tuple(dict.fromkeys((*self._notes, *motion.preflight(self.history.track))))

    @cached_property
    def stage(self) -> Stage:
        """The whole picture, as V2 sees it; the face's own stage where that shows it already."""
        if self._frame.framing == "full":
            return self._face.stage
        return MeshEngine().stage(self._portrait, replace(self._frame, framing="full"))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame."""
        return self.stage.framing.width, self.stage.framing.height

    def values(self, track: PoseTrack | None = None) -> dict[str, Floats]:
        """The curves (T,) by name."""
        return motion.pose_curves(track or self.history.track)

    def picture(self, number: int, _close: bool = False, track: PoseTrack | None = None) -> Picture:
        """(H, W, 3) uint8: the mesh engine's frame at that moment, and over it the hands as the network sees them."""
        track = track or self.history.track
        number = int(np.clip(number, 0, len(track) - 1))
        second = number / track.fps
        under = self._face.drawn(self.stage, round(second * self._face.history.track.fps))
        return _laid_over(under, draw_motion(track, number, self.size))

    def load(self, loaded: PoseTrack, lines: tuple[str, ...]) -> None:
        """Go on with a saved track; its edits can be undone where they made it from this very voice."""
        size = self._portrait.width, self._portrait.height
        with collect_notes() as notes:
            frames = clip_length(self._speech, loaded, self._options)
            fitted = frames_at(loaded, clip_times(loaded, frames, self._options), self._options.fps)
        self._notes = (*notes, *motion.preflight(loaded, size=size, body=self._body))
        again = History(self.heard).replayed(lines)
        if again is not None and _same(again, fitted):
            self.history.restart(self.heard, edits=lines)
        else:
            self.history.restart(fitted, past=lines)

    def save(self, path: Path, _options: Options | None = None) -> Path:
        """Write the track with its edits: it is in shares of the picture, whatever the video's size."""
        return motion.save_motion(path, self.history.track, self.history.lines)


def _laid_over(photo: Picture, hands: Picture) -> Picture:
    """The photo with drawn hands over it, a little bolder than the network sees them."""
    hands = np.asarray(cv2.dilate(hands, _THICK), np.uint8)
    drawn = hands.max(axis=2)
    left, top, wide, high = cv2.boundingRect(drawn)
    room = len(_ROUND)
    part = np.s_[max(0, top - room) : top + high + room, max(0, left - room) : left + wide + room]
    near = cv2.blur(cv2.dilate(drawn[part], _ROUND), _ROUND.shape)[..., None] / np.float32(255)
    share = np.float32(_OPAQUE) * (drawn[part] > 0)[..., None]
    shown = photo.copy()
    if wide:  # else no hand is in the picture
        shown[part] = photo[part] * (1 - _SHADE * near) * (1 - share) + hands[part] * share
    return shown


def shown_body(portrait: Portrait) -> Body:
    """The body of a portrait that shows its shoulders; FaceError where it does not, or nobody is found."""
    body = find_body(portrait)
    places, scores = body.body[list(SHOULDERS), :2], body.body[list(SHOULDERS), 2]
    if (scores < _SURE).any() or (places < 0).any() or (places > 1).any():
        raise FaceError(
            f"{portrait.name} shows no shoulders to hang hands on; expected head and shoulders, best with both hands: "
            "use another picture"
        )
    return body


def _same(a: PoseTrack, b: PoseTrack) -> bool:
    return a.hands.shape == b.hands.shape and bool(np.abs(a.hands - b.hands).max() < _SAME)
