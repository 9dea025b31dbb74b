"""Editing a motion interactively: edits with undo and redo on the face and the hands of one portrait and one voice."""

import os
import threading
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import cv2
import numpy as np

from echomimic import motion
from echomimic.diffusion.condition_images import draw_motion
from echomimic.editing.handles import Handle, find_handles
from echomimic.editing.history import EditHistory as EditHistory
from echomimic.editing.history import Step
from echomimic.editing.history import curves_of as curves_of
from echomimic.editing.history import edit_motion as edit_motion
from echomimic.editing.views import PortraitView
from echomimic.errors import FaceError
from echomimic.landmarks.body import Body, find_body
from echomimic.landmarks.topology import SHOULDERS
from echomimic.media import read_picture, read_speech, sound_blocks
from echomimic.mesh.alignment import Stretch, Word, align_transcript, find_stretches
from echomimic.mesh.engine import clip_curves, own_options
from echomimic.mesh.speech_to_face import SAMPLE_RATE, SpeechFeatures, analyze_speech
from echomimic.motion.edits import read_edits
from echomimic.motion.gestures import portrait_gestures
from echomimic.motion.spatial_edits import CURVES_OF
from echomimic.motion.time_edits import clip_length, clip_times, frames_at
from echomimic.notes import Note, collect_notes
from echomimic.options import Options, make_options
from echomimic.presets import PRESETS, find_preset
from echomimic.signals import runs
from echomimic.types import CURVES, Curves, Floats, LandmarkTrack, Picture, Portrait, PoseTrack, Progress, Speech

Kind = Literal["face", "hands"]
CLOSED = 0.5
"""Value of the curve `closure` from which lips count as closed."""
_MOST_THREADS = 4
_FRAME_SIDE = 640
"""The longer side of the frame at the cursor: enough to judge lips by, and quick to render."""
_RATE, _PEAKS = 24_000, 100
"""Samples a second of the voice as it is played, and points a second of its wave form."""
_MARGIN, _FAR = 0.35, 0.6
"""Margin around the face of a close-up in face sizes; the fraction of the picture's width below which one is useful."""
_VISIBLE = 0.5
"""Score from which a shoulder counts as visible."""
_OPACITY, _SHADE = 0.85, 0.5
"""Opacity of a drawn hand, and how much the photo around it is darkened, so that its thin lines stay visible."""
_STROKE, _GLOW = np.ones((2, 2), np.uint8), np.ones((9, 9), np.uint8)


class FaceEditor:
    """The editor of the face: its track, for the presets that follow a face, and the mesh engine, which renders it.

    Its tracks hold curves only, so that edits are fast and take little memory; `save` adds the landmarks.
    """

    table = CURVES
    downward: tuple[str, ...] = ()
    """Curves that grow downwards in the picture, and are drawn so."""
    usual = 1.0
    """How much of their range the curves usually take up."""

    def __init__(
        self,
        portrait: Portrait,
        speech: Speech,
        options: Options,
        progress: Progress | None = None,
        features: SpeechFeatures | None = None,
        read: Callable[[], Portrait] | None = None,
    ) -> None:
        self._speech, self._features = speech, features
        self.read = read or (lambda: portrait)
        self.load_notes: tuple[Note, ...] = ()
        self.view = PortraitView(portrait, options, self.read)
        self._options = own_options(options, self.view.portrait, speech)
        self.predicted = self._track(None)
        """The track that is predicted from the voice, without edits."""
        self.history: EditHistory[LandmarkTrack] = EditHistory(self.predicted, progress)

    def _track(self, loaded: LandmarkTrack | None) -> LandmarkTrack:
        frames = clip_length(self._speech, loaded, self._options)
        curves = clip_curves(self._speech, loaded, self._options, frames, self._features)
        points = np.zeros((len(curves), 0, 3), np.float32)
        parts = None if loaded is None else loaded.parts
        return LandmarkTrack(points, self.size, curves.fps, np.ones(len(curves), bool), curves, parts)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame."""
        return self.view.size

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes about the track, one line each: how it was loaded, and edits that have no effect."""
        parts = self.history.track.parts
        if parts is None:
            return self.load_notes
        edited = frozenset().union(*(edit.curves for edit in self.history.all_edits))
        idle = [
            Note.make(
                "edits_not_driving",
                "the edits of {curves} have no effect: {part} is not ticked, and follows the voice",
                curves=", ".join(sorted(edited & set(names))),
                part=part,
            )
            for part, names in CURVES_OF.items()
            if part not in parts and edited & set(names)
        ]
        return (*self.load_notes, *idle)

    def values(self, track: LandmarkTrack | None = None) -> dict[str, Floats]:
        """The curves (T,) that are rendered, by name."""
        curves = self.curves(track)
        return {curve.name: curves[curve.name] for curve in CURVES}

    def curves(self, track: LandmarkTrack | None = None) -> Curves:
        """The curves that are rendered: the track's, and the voice's for the parts that the track does not drive."""
        track = track or self.history.track
        assert track.curves is not None
        assert self.predicted.curves is not None
        if track.parts is None:
            return track.curves
        return motion.combine_curves(self.predicted.curves, track.curves, track.parts)

    def picture(self, number: int, close: bool = False, track: LandmarkTrack | None = None) -> Picture:
        """(H, W, 3) uint8: a frame of the track, as the mesh engine renders it; with `close` the head alone."""
        frame = self.render(self.view, number, track)
        left, top, right, bottom = self.head if close else (0, 0, *self.size)
        return frame[top:bottom, left:right]

    def render(self, view: PortraitView, number: int, track: LandmarkTrack | None = None) -> Picture:
        """A frame of this portrait by number, in any crop."""
        curves = self.curves(track)
        return view.scene.frame(curves.values[int(np.clip(number, 0, len(curves) - 1))])

    @cached_property
    def head(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a close-up, in pixels of a frame."""
        points = self.view.crop.points(self.view.face.landmarks)[:, :2]
        low, high = points.min(axis=0), points.max(axis=0)
        margin = _MARGIN * (high - low).max()
        left, top = np.clip(low - margin, 0, self.size).astype(int)
        right, bottom = np.clip(high + margin, 0, self.size).astype(int)
        return int(left), int(top), int(right), int(bottom)

    @property
    def far(self) -> bool:
        """Whether the head is so small in the picture that a close-up shows more."""
        left, _, right, _ = self.head
        return right - left < _FAR * self.size[0]

    @cached_property
    def closures(self) -> list[tuple[float, float]]:
        """The seconds between which the voice closes the lips."""
        assert self.predicted.curves is not None
        fps, shut = self.predicted.fps, self.predicted.curves["closure"] >= CLOSED
        return [(first / fps, last / fps) for first, last in runs(shut)]

    def handles(self, number: int, close: bool = False) -> list[Handle]:
        """The parts of the face that can be dragged in the picture of that frame."""
        curves = self.curves()
        row = curves.values[int(np.clip(number, 0, len(curves) - 1))]
        return find_handles(self.view.rig.points, row, self.head if close else (0, 0, *self.size))

    def load(self, loaded: LandmarkTrack, edits: Step) -> None:
        """Continue with a saved track; its edits can be undone if they made it from this very voice."""
        with collect_notes() as notes:
            fitted = self._track(loaded)
        self.load_notes = tuple(notes)
        self.history.load(self.predicted, fitted, edits, self._renders_same)

    def _renders_same(self, a: LandmarkTrack, b: LandmarkTrack) -> bool:
        if a.curves is None or b.curves is None or len(a) != len(b) or a.parts != b.parts:
            return False
        return bool(np.abs(self.curves(a).values - self.curves(b).values).max() < 1e-4)

    def save(self, path: Path, options: Options | None = None) -> Path:
        """Write the track with its edits; with `options`, framed as they ask for."""
        view = self.view if options is None else PortraitView(self.read(), options, self.read)
        resolved = replace(self.history.track, curves=self.curves(), image_size=view.size)
        return motion.save_motion(path, motion.follow_curves(resolved, view.rig.points), self.history.all_edits)


class HandsEditor:
    """The editor of the hands: the track for the V2 presets, generated from the voice or loaded.

    `options` are those of V2, whose frame rate differs from the face's. FaceError if the portrait shows no shoulders.
    """

    table = motion.POSE_CURVES
    downward = ("left_y", "right_y")
    usual = 0.15
    far = False

    def __init__(
        self, portrait: Portrait, speech: Speech, options: Options, face: FaceEditor, frame_options: Options
    ) -> None:
        self._speech, self._options, self._face = speech, options, face
        self._portrait_size = portrait.width, portrait.height
        self._body = visible_body(portrait)
        self.view = face.view
        """The whole picture, as V2 sees it; the face's own if that shows it already."""
        if frame_options.framing != "full":
            self.view = PortraitView(portrait, replace(frame_options, framing="full"), face.read, face.view.face)
        with collect_notes() as notes:
            self.predicted = portrait_gestures(portrait, speech, options, self._body)
        self.load_notes = tuple(notes)
        self.history: EditHistory[PoseTrack] = EditHistory(self.predicted, face.history.progress)

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes about the track, one line each: how it was loaded, and hands that move too fast to be drawn well."""
        return tuple(dict.fromkeys((*self.load_notes, *motion.preflight(self.history.track))))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame."""
        return self.view.size

    def values(self, track: PoseTrack | None = None) -> dict[str, Floats]:
        """The curves (T,) by name."""
        return motion.pose_curves(track or self.history.track)

    def picture(self, number: int, _close: bool = False, track: PoseTrack | None = None) -> Picture:
        """(H, W, 3) uint8: the mesh engine's frame at that moment, and over it the hands as the network sees them."""
        track = track or self.history.track
        number = int(np.clip(number, 0, len(track) - 1))
        photo = self._face.render(self.view, round(number / track.fps * self._face.history.track.fps))
        return _overlaid(photo, draw_motion(track, number, self.size))

    def load(self, loaded: PoseTrack, edits: Step) -> None:
        """Continue with a saved track; its edits can be undone if they made it from this very voice."""
        with collect_notes() as notes:
            frames = clip_length(self._speech, loaded, self._options)
            fitted = frames_at(loaded, clip_times(loaded, frames, self._options), self._options.fps)
        self.load_notes = (*notes, *motion.preflight(loaded, size=self._portrait_size, body=self._body))
        self.history.load(self.predicted, fitted, edits, _same_hands)

    def save(self, path: Path, _options: Options | None = None) -> Path:
        """Write the track with its edits; it is in fractions of the picture, whatever the video's size."""
        return motion.save_motion(path, self.history.track, self.history.all_edits)


def _overlaid(photo: Picture, hands: Picture) -> Picture:
    """The photo with drawn hands over it, in thicker lines than the network gets."""
    left, top, width, height = cv2.boundingRect(cv2.cvtColor(hands, cv2.COLOR_RGB2GRAY))
    if not width:  # no hand is in the picture
        return photo
    margin = len(_GLOW) + len(_STROKE)
    part = np.s_[max(0, top - margin) : top + height + margin, max(0, left - margin) : left + width + margin]
    bold = cv2.dilate(hands[part], _STROKE)
    drawn = cv2.max(cv2.max(bold[..., 0], bold[..., 1]), bold[..., 2])
    near = cv2.blur(cv2.dilate(drawn, _GLOW), _GLOW.shape)
    seen = cv2.convertScaleAbs(near, alpha=-_SHADE, beta=255)  # how much of the photo remains
    seen[drawn > 0] = seen[drawn > 0] * (1 - _OPACITY)
    shaded = cv2.multiply(photo[part], cv2.cvtColor(seen, cv2.COLOR_GRAY2RGB), scale=1 / 255)
    shown = photo.copy()
    shown[part] = cv2.add(shaded, cv2.convertScaleAbs(bold, alpha=_OPACITY))
    return shown


def visible_body(portrait: Portrait) -> Body:
    """The body of a portrait that shows its shoulders. FaceError if it does not, or if nobody is found."""
    body = find_body(portrait)
    places, scores = body.body[list(SHOULDERS), :2], body.body[list(SHOULDERS), 2]
    if (scores < _VISIBLE).any() or (places < 0).any() or (places > 1).any():
        raise FaceError(
            f"{portrait.name} shows no shoulders; expected head and shoulders, best with both hands: "
            "use another picture"
        )
    return body


def _same_hands(a: PoseTrack, b: PoseTrack) -> bool:
    return a.hands.shape == b.hands.shape and bool(np.abs(a.hands - b.hands).max() < 1e-5)


@dataclass
class EditingSession:
    """A portrait, a voice, and the motion that is edited: the face, and the hands once they are asked for."""

    portrait_file: Path
    voice_file: Path
    given: Mapping[str, Any] = field(default_factory=dict)
    """Options that were set before the editor was opened."""
    id: str = field(default_factory=lambda: uuid4().hex)
    kind: Kind = "face"
    """The kind that is shown first: the one that was loaded last."""
    progress: Progress | None = None
    """Called before each edit that is applied; raising from it cancels, for a server that has to stop."""
    on_analysis: Progress | None = None
    """Called while the voice is analyzed, with the seconds that are done and all."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.portrait_file, self.voice_file = Path(self.portrait_file), Path(self.voice_file)
        portrait = self.read_portrait()
        self.speech = read_speech(self.voice_file)
        self.longer = max(portrait.pixels.shape[:2])
        """The longer side of the portrait in pixels."""
        size = {} if self.given.get("size") or self.longer <= _FRAME_SIDE else {"size": _FRAME_SIDE}
        self.options: Options = make_options({**self.given, **size})
        self._features = analyze_speech(self._sound(), threads=min(os.cpu_count() or 1, _MOST_THREADS))
        self.face = FaceEditor(portrait, self.speech, self.options, self.progress, self._features, self.read_portrait)
        self._hands: HandsEditor | FaceError | None = None

    def read_portrait(self) -> Portrait:
        """Read the picture of the file; it is not kept, since a large one takes more memory than everything else."""
        return read_picture(self.portrait_file)

    @property
    def views(self) -> list[PortraitView]:
        """The views from which frames are drawn; they may be released at any time."""
        return [self.face.view, *([self._hands.view] if isinstance(self._hands, HandsEditor) else [])]

    def _sound(self) -> Iterator[Floats]:
        """The sound of the voice, reported to `on_analysis` as it is analyzed."""
        samples = 0
        for block in sound_blocks(self.speech, SAMPLE_RATE):
            if self.on_analysis is not None:
                self.on_analysis(samples // SAMPLE_RATE, round(self.speech.duration))
            yield block
            samples += len(block)

    @property
    def hands(self) -> HandsEditor:
        """Made on first use, which takes a while. FaceError if the portrait shows no shoulders."""
        with self.lock:
            if self._hands is None:
                options = make_options(self.given, find_preset("v2").defaults)
                try:
                    self._hands = HandsEditor(self.face.view.portrait, self.speech, options, self.face, self.options)
                except FaceError as error:
                    self._hands = error
        if isinstance(self._hands, FaceError):
            raise FaceError(str(self._hands))
        return self._hands

    def editor(self, kind: Kind) -> FaceEditor | HandsEditor:
        """The face or the hands."""
        return self.face if kind == "face" else self.hands

    @property
    def edits(self) -> dict[Kind, Step]:
        """Every edit, by what it changes."""
        hands = self._hands.history.all_edits if isinstance(self._hands, HandsEditor) else ()
        return {"face": self.face.history.all_edits, "hands": hands}

    @property
    def revision(self) -> int:
        """Grows with every change of the face or of the hands."""
        hands = self._hands.history.revision if isinstance(self._hands, HandsEditor) else 0
        return self.face.history.revision + hands

    def apply(self, edits: Mapping[Kind, Sequence[object]]) -> None:
        """Apply edits by what they change, records or lines of Python, each as one step.

        Edits that change a motion's length are left out, since the voice gives it here; a note says so.
        """
        for kind, each in edits.items():
            asked = [edit for edit in read_edits(each) if edit.op != "note"]
            kept = [edit for edit in asked if edit.keeps_length]
            if kept:
                self.editor(kind).history.apply(kept, separate=True)
            if left := list(dict.fromkeys(edit.op for edit in asked if not edit.keeps_length)):
                self.editor(kind).load_notes += (
                    Note.make(
                        "edits_left_out",
                        "{edits}: left out, since the voice gives the length of the motion here",
                        edits=", ".join(left),
                    ),
                )

    def warnings(self, preset: str) -> tuple[Note, ...]:
        """Warnings about edits that a render with this preset leaves out, one line each."""
        takes = "hands" if PRESETS[preset].conditioning == "hands" else "face"
        other: Kind = "face" if takes == "hands" else "hands"
        lost = [edit for edit in self.edits[other] if edit.op != "note"]
        if not lost:
            return self.face.notes if takes == "face" else ()
        unused = Note.make(
            "edits_not_rendered",
            "preset {preset} follows the {takes}: {count} edits of the {other} have no effect",
            preset=preset,
            takes=takes,
            count=len(lost),
            other=other,
        )
        return (unused, *(self.face.notes if takes == "face" else ()))

    def load(self, path: Path) -> Kind:
        """Continue with a saved track, of a face or of hands; gives which of them it was."""
        loaded, edits = motion.load_with_edits(path)
        if isinstance(loaded, LandmarkTrack):
            self.face.load(loaded, edits)
        else:
            self.hands.load(loaded, edits)
        self.kind = "face" if isinstance(loaded, LandmarkTrack) else "hands"
        return self.kind

    @property
    def frames(self) -> int:
        """The length of the face's track in frames, which determines the memory of the session."""
        return len(self.face.predicted)

    @cached_property
    def peaks(self) -> list[float]:
        """The peak level of the voice, `_PEAKS` times a second, 0..1."""
        return voice_peaks(self.speech, _PEAKS)

    @cached_property
    def stretches(self) -> list[Stretch]:
        """The stretches of the voice that matter to the lips."""
        return find_stretches(self.speech, self._features)

    def align(self, text: str, language: str = "en-us") -> list[Word]:
        """The words of a transcript, plain or .srt, with their times. Raises SoundError, SetupError."""
        return align_transcript(self.speech, text, language)

    def write_voice(self, path: Path) -> Path:
        """The voice as a WAV that every browser plays; renamed into place, since it may be read meanwhile."""
        part = path.with_name(f"{uuid4().hex}.part")
        with wave.open(str(part), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(_RATE)
            for block in sound_blocks(self.speech, _RATE):
                file.writeframes((np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())
        return part.replace(path)


def voice_peaks(speech: Speech, rate: int) -> list[float]:
    """The peak level of a voice, `rate` times a second, 0..1."""
    loud = np.concatenate([*_peaks(sound_blocks(speech, _RATE), _RATE // rate)])
    return [round(float(each), 3) for each in loud / max(float(loud.max()), 1e-6)]


def _peaks(blocks: Iterable[Floats], step: int) -> Iterator[Floats]:
    """The peak of every `step` samples, block by block, since hours of sound do not fit into memory at once."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        sound = np.concatenate([rest, np.abs(block)])
        whole = len(sound) // step * step
        yield sound[:whole].reshape(-1, step).max(axis=1)
        rest = sound[whole:]
    yield rest.max(initial=0.0, keepdims=True)
