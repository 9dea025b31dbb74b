"""Settings of the preparation, and the reasons for which videos and clips are dropped."""

import hashlib
import json
from dataclasses import asdict

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from echomimic.errors import OptionError
from echomimic.train.diffusion.manifest import Kind

VERSION = 1
"""Version of the procedure; increase it with any change of the results, so that videos are prepared again."""
SIZES = {"face": 512, "half": 768}
"""The longer side of the canvas in pixels, as V1 and V2 are trained."""

REASONS = {
    "unreadable": "the video cannot be decoded",
    "no_sound": "the video has no sound, or a silent one",
    "low_resolution": "the video has fewer lines than its canvas asks for",
    "short": "the video, or the piece between two cuts, is too short",
    "repeated": "too many frames repeat the one before",
    "no_face": "nobody is seen",
    "several_faces": "a second face is seen",
    "face_lost": "the face is lost in too many frames",
    "small_face": "the face has too few pixels",
    "turned": "the head is turned too far",
    "jump": "the face jumps from one frame to the next",
    "small_share": "the face takes too little of the crop",
    "outside": "the crop reaches too far beyond the picture",
    "hands": "both hands are seen too seldom",
    "no_speech": "too little is said",
    "sync_offset": "the sound is off by too many frames",
    "sync_weak": "the mouth does not follow the sound",
    "exposure": "the face is too dark or too bright",
    "text": "text stands in the lower fifth",
    "camera": "the camera moves",
    "blurred": "among the least sharp of the data set",
    "duplicate": "another clip shows and says the same",
    "error": "the preparation failed; the next run tries again",
    "crash": "the video killed its worker twice; the next run tries again",
}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PrepareSettings:
    """Limits of the steps; the names say whether fractions are of frames, of the canvas or of the face.

    Attributes:
        kind: "face" (a square head crop, landmark track) or "half" (an upper body, pose track).
        size: the longer side of the canvas in pixels.
        shortest, longest: seconds of a clip.
        least_face: least size of a face in the video, in fractions of `size`.
        least_lines: least height of the video in pixels.
        cut, cut_factor: mean change of luma between frames that makes a cut, and its factor over the median nearby.
        most_repeated: largest fraction of frames that equal the one before.
        least_seen: smallest fraction of frames in which the face is found.
        most_others: largest fraction of sampled frames with a second face.
        most_yaw: largest turn of the head in degrees.
        most_jump: largest step of the face between two frames, in face sizes.
        least_share: least height of the face in fractions of the canvas' height.
        crop_margin: margin around the face in face sizes ("face").
        most_outside: largest fraction of the crop beyond the picture.
        least_hands: least fraction of frames with both hands ("half").
        least_speech: least fraction of the time with speech.
        lag: largest lag in frames that is scanned.
        most_offset: largest lag of the sound in frames that is undone.
        least_sync, least_confidence: least correlation of mouth and sound in 10 seconds, and least distance to the
            median over lags; more for shorter pieces. 1 % of rendered clips with another clip's voice reach them.
        in_sync_video: fraction of it that is enough where the rest of the video is in sync.
        darkest, brightest: mean luma of the face, 0..255.
        most_text: largest fraction of the lower fifth that is strokes of static text.
        most_camera: largest motion of the border in pixels a frame, at 512 pixels.
        kept_without: fraction of clips without speech or hands that are kept, since networks must learn both.
        blurred: fraction of least sharp clips that may be dropped, if they are `blurred_by` octaves below the median.
    """

    kind: Kind = "face"
    size: int = 512
    fps: float = 24.0
    shortest: float = 3.0
    longest: float = 10.0
    least_face: float = 0.5
    least_lines: int = 0
    cut: float = 12.0
    cut_factor: float = 2.5
    most_repeated: float = 0.2
    least_seen: float = 0.97
    most_others: float = 0.05
    most_yaw: float = 35.0
    most_jump: float = 0.15
    least_share: float = 0.22
    crop_margin: float = 0.5
    most_outside: float = 0.1
    least_hands: float = 0.5
    least_speech: float = 0.3
    lag: int = 12
    most_offset: int = 6
    least_sync: float = 0.37
    least_confidence: float = 0.44
    in_sync_video: float = 0.5
    darkest: float = 40.0
    brightest: float = 220.0
    most_text: float = 0.01
    most_camera: float = 1.0
    kept_without: float = 0.1
    blurred: float = 0.15
    blurred_by: float = 1.0

    def digest(self) -> str:
        """Hex digest of all settings and of the version: clips are prepared again if it changes."""
        return hashlib.sha256(json.dumps([VERSION, asdict(self)], sort_keys=True).encode()).hexdigest()


def make_settings(kind: Kind = "face", size: int | None = None) -> PrepareSettings:
    """The default settings of a kind of data; a smaller `size` accepts smaller faces and videos."""
    size = SIZES[kind] if size is None else size
    if not 64 <= size <= 2048 or size % 64:
        raise OptionError(f"size {size}; expected a multiple of 64 from 64 to 2048")
    if kind == "half":
        lines = min(720, size)
        return PrepareSettings(kind, size, least_lines=lines, least_face=0.08, least_share=0.08)
    return PrepareSettings(kind, size)
