"""Edit, save, load and render each curve of the face, and correlate it with the curve measured in the video.

Every curve is drawn once over the whole clip with keyframes through its full range, as in the editor, while the voice
and the idle motion go on driving all others. The track goes through an .npz file, is rendered by the mesh engine to an
.mp4, and the motion is measured in that video. No measure uses the drawn curve, and none is fitted to it.

Curves of the mouth share its points: a jaw that drops for the voice takes the corners along that a smile has raised. So
r is given twice: of the whole rendered and measured curves, and of their differences to those of the unedited track,
rendered the same way.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.api import animate, load, predict
from echomimic.engines import Engine
from echomimic.evaluate.landmarks import Faces, opening, read_faces
from echomimic.landmarks.detectors import face_landmarker
from echomimic.landmarks.topology import BROW_MIDDLES, EYE_CORNERS, EYES, LOWER_LIP_MIDDLE, MOUTH_CORNERS, OVAL
from echomimic.media import read_video
from echomimic.mesh.landmarks_to_curves import eye_opening
from echomimic.motion import draw_curve, load_motion, read_edit, save_motion
from echomimic.types import CURVES, Curves, Floats, LandmarkTrack, Portrait, Speech
from samples import portraits, voices

SIZE = 512
STILL = 0.2
"""Corners that stray by fewer pixels belong to the background."""
Key = tuple[float, float]
STEP = 0.44
"""Seconds between keyframes: slower than a syllable, faster than an idle head."""
SHARES = (0.5, 1.0, 0.3, 0.8, 0.0, 0.6, 0.2, 0.9, 0.1, 0.7, 0.4, 1.0, 0.0)
"""Where the keyframes lie in the curve's range, from its low to its high end."""
BLINKS = ((0.6, 1.0, 0.08), (1.5, 1.0, 0.1), (2.4, 0.5, 0.3), (3.5, 1.0, 0.08), (4.3, 1.0, 0.3), (5.2, 0.7, 0.15))
"""Blinks and half-shut eyes: second, how far shut, and seconds in which the lids fall."""
IRISES = tuple((eye.left, eye.right, eye.iris[0]) for eye in EYES)


def height(*points: int) -> Callable[[Faces], Floats]:
    """How far down the middle of some points lies in the head's frame, in outer-eye distances."""
    return lambda faces: faces.still[:, list(points), 1].mean(axis=1)


def mouth_width(faces: Faces) -> Floats:
    """Corner to corner in outer-eye distances."""
    return np.linalg.norm(faces.still[:, MOUTH_CORNERS[1]] - faces.still[:, MOUTH_CORNERS[0]], axis=1)


def lower_lip_rise(faces: Faces) -> Floats:
    """How far the lower lip's inner rim lies above the corners of the mouth."""
    return height(*MOUTH_CORNERS)(faces) - height(*LOWER_LIP_MIDDLE)(faces)


def brow_rise(faces: Faces) -> Floats:
    """How far the brows lie above the corners of the eyes."""
    return height(*EYE_CORNERS)(faces) - height(*BROW_MIDDLES)(faces)


def look(axis: int) -> Callable[[Faces], Floats]:
    """Where the irises are from the middle between the corners of the eye, in eye widths."""

    def measure(faces: Faces) -> Floats:
        found = []
        for left, right, iris in IRISES:
            a, b = faces.still[:, left, :2], faces.still[:, right, :2]
            wide = np.linalg.norm(b - a, axis=1)
            found.append((faces.still[:, iris, axis] - (a + b)[:, axis] / 2) / wide)
        return np.asarray(np.mean(found, axis=0), np.float32)

    return measure


def tracked(name: str) -> Callable[[Faces], Floats]:
    """A curve as `echomimic track` reads it off any video."""
    return lambda faces: faces.curves[name]


def expected_lips(curves: Curves) -> Floats:
    """The lip opening that the engine renders: closure has priority over the jaw."""
    return curves["jaw"] * (1 - curves["closure"])


@dataclass(frozen=True)
class Measure:
    """How a curve is read off a video.

    `expected` computes what the engine renders if other curves count too. `held` are curves that are set to one value,
    because without them the edited one shows nothing. `open_eyes`: frames with the lids over half shut do not count.
    """

    name: str
    words: str
    read: Callable[[Faces], Floats] | None = None
    expected: Callable[[Curves], Floats] | None = None
    held: tuple[tuple[str, float], ...] = ()
    open_eyes: bool = False


HELD_APART = (("jaw", 0.2), ("closure", 0.0), ("tuck", 0.0))
HELD_AJAR = (("jaw", 0.35), ("closure", 0.0))
HELD_OPEN = (("jaw", 0.5),)
MEASURES = (
    Measure("jaw", "gap of the inner lips; expected jaw x (1 - closure)", opening, expected_lips),
    Measure("spread", "mouth width over outer-eye distance", mouth_width),
    Measure("upper_lip", "gap of the inner lips, held a little apart", opening, held=HELD_APART),
    Measure("tuck", "lower lip below the corners, jaw held ajar", lower_lip_rise, held=HELD_AJAR),
    Measure("closure", "gap of the inner lips, jaw held half open", opening, expected_lips, HELD_OPEN),
    Measure(
        "smile", "corners above the middle of the lips, jaw and width taken out as `track` does it", tracked("smile")
    ),
    Measure("blink", "gap of the lids over eye width", lambda f: -eye_opening(f.still)),
    Measure("brow", "brows above the corners of the eyes", brow_rise),
    Measure("gaze_x", "iris between the corners of the eye, over eye width; eyes open", look(0), open_eyes=True),
    Measure("gaze_y", "iris above or below the corners, over eye width; eyes open", look(1), open_eyes=True),
    *(Measure(name, "face mesh fitted to the template", tracked(name)) for name in ("yaw", "pitch", "roll")),
    *(Measure(name, "where the fitted neck is, in face widths", tracked(name)) for name in ("shift_x", "shift_y")),
    Measure("sway", "shoulders to the side, by optical flow"),
    Measure("breath", "shoulders up, by optical flow"),
)
"""A landmark detector does not see the tongue: it has no measure here."""


@dataclass(frozen=True)
class Seen:
    """What a video shows: the faces of its frames, and how far what is below the chin moved (T, 2) in pixels."""

    faces: Faces
    body: Floats


@dataclass(frozen=True)
class Setup:
    """A portrait, a voice and the motion predicted from it, with the functions that render and measure videos."""

    person: Portrait
    voice: Speech
    engine: Engine
    track: LandmarkTrack
    video: bool

    def film(self, track: LandmarkTrack) -> Seen:
        """Render the track to a file, and measure that file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            animate(
                *(self.person, self.voice, track), output=path, preset="mesh", engine=self.engine, size=SIZE,
                framing="crop",
            )  # fmt: skip
            return look_at(path, track.fps, self.video)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="curves, with commas between them")
    parser.add_argument("--portraits", type=int, default=5)
    parser.add_argument("--static", action="store_true", help="detect the face independently in each frame")
    given = parser.parse_args()
    chosen = [each for each in MEASURES if not given.only or each.name in given.only.split(",")]
    people, voice = portraits()[: given.portraits], voices()[0]
    setups = []
    for person in people:
        track = predict(person, voice, size=SIZE, framing="crop")
        setups.append(Setup(person, voice, load("mesh"), track, not given.static))
    plain = [setup.film(setup.track) for setup in setups]
    print(f"{'curve':9}", *(f"{Path(person.name).stem[-10:]:>10}" for person in people), "  mean  of the change")
    for measure in chosen:
        scores = np.array([score(*pair, measure) for pair in zip(setups, plain, strict=True)])
        means = scores.mean(axis=0)
        row = " ".join(f"{value:10.3f}" for value in scores[:, 0])
        print(f"{measure.name:9} {row}  {means[0]:.3f}  {means[1]:.3f}  {measure.words}", flush=True)


def score(setup: Setup, plain: Seen, measure: Measure) -> tuple[float, float]:
    """r of the rendered and the measured curve, while all others move; and of what the edit changed in both."""
    before = setup.track
    if measure.held:
        before = saved(before, [(name, steady(before, value)) for name, value in measure.held])
        plain = setup.film(before)
    after = saved(before, [(measure.name, keys(measure.name, length(before)))])
    seen = setup.film(after)
    expected, found = rendered_values(after, measure), measured_values(seen, measure)
    kept = usable_frames(after, seen, measure)
    changed = kept & usable_frames(before, plain, measure)
    whole = np.corrcoef(expected[kept], found[kept])[0, 1]
    change = np.corrcoef(
        (expected - rendered_values(before, measure))[changed], (found - measured_values(plain, measure))[changed]
    )[0, 1]
    return float(whole), float(change)


def rendered_values(track: LandmarkTrack, measure: Measure) -> Floats:
    """The values (T,) of the measure that the engine renders."""
    assert track.curves is not None
    return measure.expected(track.curves) if measure.expected else track.curves[measure.name]


def measured_values(seen: Seen, measure: Measure) -> Floats:
    """The values (T,) of the measure in the video."""
    if measure.read is None:
        return seen.body[:, 0] if measure.name == "sway" else -seen.body[:, 1]
    return measure.read(seen.faces)


def usable_frames(track: LandmarkTrack, seen: Seen, measure: Measure) -> npt.NDArray[np.bool_]:
    """(T,) where the face was found and, where that matters, the eyes are open."""
    assert track.curves is not None
    return seen.faces.valid & ~(measure.open_eyes & (track.curves["blink"] > 0.5))


def saved(track: LandmarkTrack, lines: list[tuple[str, list[Key]]]) -> LandmarkTrack:
    """The track with curves drawn, as the editor saves it and reads it again."""
    for name, drawn in lines:
        track = draw_curve(track, name, drawn)
    edits = tuple(read_edit({"op": "draw_curve", "curve": name, "keys": drawn}) for name, drawn in lines)
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_motion(save_motion(Path(folder) / "edited.npz", track, edits))
    assert isinstance(loaded, LandmarkTrack)
    return loaded


def length(track: LandmarkTrack) -> float:
    """The second of the last frame."""
    return (len(track) - 1) / track.fps


def steady(track: LandmarkTrack, value: float) -> list[Key]:
    """Keyframes that hold a curve at one value."""
    return [(0.0, value), (length(track), value)]


def keys(name: str, end: float) -> list[Key]:
    """Keyframes over a whole clip: blinks for the lids, else a walk through the curve's range."""
    if name == "blink":
        drawn = [(0.0, 0.0)]
        for at, how, fall in BLINKS:
            drawn += [(at, 0.0), (at + fall, how), (at + 2.5 * fall, 0.0)]
        return [key for key in drawn if key[0] < end] + [(end, 0.0)]
    line = next(line for line in CURVES if line.name == name)
    seconds = [*np.arange(0, end - STEP / 2, STEP).tolist(), end]
    shares = [SHARES[k % len(SHARES)] for k in range(len(seconds))]
    return [(second, line.low + share * (line.high - line.low)) for second, share in zip(seconds, shares, strict=True)]


def look_at(path: Path, fps: float, video: bool) -> Seen:
    """The faces that a landmark detector finds in a video, and the motion below the chin."""
    points: list[Floats] = []
    valid, strips = [], []
    film = read_video(path)
    find = face_landmarker(video=video)
    for _, frame in film.frames():
        found = find(frame)
        valid.append(bool(found))
        points.append(found[0] if found else (points[-1] if points else np.zeros((478, 3), np.float32)))
        strips.append(cv2.cvtColor(frame[-frame.shape[0] // 7 :], cv2.COLOR_RGB2GRAY))
    track = LandmarkTrack(np.stack(points), (film.width, film.height), fps, np.array(valid))
    return Seen(read_faces(track), flow(strips, beside_the_neck(track, strips[0])))


def beside_the_neck(track: LandmarkTrack, strip: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The part of a strip beside the jaw: what lies between follows the head, in a close-up it is the chin itself."""
    jaw = track.points[0][list(OVAL), 0]
    beside = np.full_like(strip, 255)
    beside[:, max(0, int(jaw.min())) : int(jaw.max()) + 1] = 0
    return beside


def flow(strips: list[npt.NDArray[np.uint8]], mask: npt.NDArray[np.uint8]) -> Floats:
    """(T, 2) pixels that what moves in grey pictures has moved since the first: the median over corners in the mask,
    each followed by Lucas and Kanade's method."""
    corners = cv2.goodFeaturesToTrack(strips[0], 200, 0.005, 4, mask=mask)
    ways = [cv2.calcOpticalFlowPyrLK(strips[0], strip, corners, None)[0][:, 0] - corners[:, 0] for strip in strips]
    moved = np.stack(ways)
    alive = moved.std(axis=0).max(axis=1) > STILL
    return np.asarray(np.median(moved[:, alive], axis=1), np.float32)


if __name__ == "__main__":
    main()
