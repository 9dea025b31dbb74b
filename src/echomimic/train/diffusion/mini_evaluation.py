"""Evaluation of the mini: how well rendered clips follow the voice and the landmarks, measured by regression.

A ridge regression for each portrait, from pixels of the true frames to the mesh engine's curves, needs neither a
network nor landmarks. Figures are Pearson correlations after removing a moving average of one second, since slow drifts
would inflate them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from echomimic.diffusion.condition_images import PARTS, SELECTED
from echomimic.diffusion.engine import DiffusionEngine
from echomimic.diffusion.vae import decode_latents
from echomimic.landmarks.topology import DRAWN_BROWS, DRAWN_EYES, LIPS
from echomimic.media import speech_from_samples
from echomimic.mesh.speech_to_face import SAMPLE_RATE
from echomimic.motion.lags import pearson, without_drift
from echomimic.options import make_options
from echomimic.presets import Preset
from echomimic.train.diffusion.mini_data import FPS, SIDE, MiniClip
from echomimic.train.diffusion.mini_samples import encode_frames
from echomimic.types import Floats, LandmarkTrack, Motion, Picture, Portrait

MAX_LAG = 6
STILL = 0.02
"""Standard deviation of a true curve below which a clip is not used for it, such as lids in a clip without a blink."""
_EYES = sorted({index for edges in (*DRAWN_EYES, *DRAWN_BROWS) for edge in edges for index in edge})
_MOUTH_MARGIN, _EYES_MARGIN = 5, 3

Box = tuple[slice, slice]
Read = Callable[[MiniClip], Floats]


@dataclass(frozen=True)
class Probe:
    """Measures a curve in frames: a linear function of the pixels of a box."""

    box: Box
    weights: Floats
    mean: Floats
    offset: float

    @classmethod
    def fit(cls, clips: Sequence[MiniClip], box: Box, target: Read, ridge: float) -> "Probe":
        """Ridge regression from the true frames of `clips` to their `target` curves."""
        pixels = np.concatenate([_pixels(clip.frames, box) for clip in clips])
        values = np.concatenate([target(clip) for clip in clips])
        mean, offset = pixels.mean(0), float(values.mean())
        return cls(box, _ridge_weights(pixels - mean, values - offset, ridge), mean, offset)

    def __call__(self, frames: Picture) -> Floats:
        """The curve (T,) of frames (T, H, W, 3)."""
        return (_pixels(frames, self.box) - self.mean) @ self.weights + self.offset


def _ridge_weights(rows: Floats, values: Floats, ridge: float) -> Floats:
    """Weights (n,) of a ridge regression from rows (T, n) to values (T,), by the smaller of both systems."""
    if len(rows) < rows.shape[1]:
        gram = rows @ rows.T + ridge * np.eye(len(rows), dtype=np.float32)
        return rows.T @ np.linalg.solve(gram, values)
    gram = rows.T @ rows + ridge * np.eye(rows.shape[1], dtype=np.float32)
    return np.linalg.solve(gram, rows.T @ values)


def _pixels(frames: Picture, box: Box) -> Floats:
    part = frames[:, box[0], box[1]]
    return part.reshape(len(part), -1).astype(np.float32) / 255


def box_around(clips: Sequence[MiniClip], indices: Sequence[int], margin: float) -> Box:
    """The box of some landmarks over all frames of `clips`, grown by `margin` pixels."""
    points = np.concatenate([clip.points[:, list(indices), :2].reshape(-1, 2) for clip in clips])
    (left, top), (right, bottom) = (np.quantile(points, share, axis=0) for share in (0.01, 0.99))
    rows = slice(max(0, int(top - margin)), min(SIDE, int(np.ceil(bottom + margin))))
    return rows, slice(max(0, int(left - margin)), min(SIDE, int(np.ceil(right + margin))))


class _Target(NamedTuple):
    """A curve to measure in frames: its name, the true curve, the landmarks around it, and the ridge parameter."""

    name: str
    true: Read
    indices: Sequence[int]
    margin: float
    ridge: float


_TARGETS = (
    _Target("mouth", lambda clip: clip.opening, LIPS, _MOUTH_MARGIN, 30.0),
    _Target("lids", lambda clip: clip.curves["blink"], _EYES, _EYES_MARGIN, 10.0),
    _Target("brows", lambda clip: clip.curves["brow"], _EYES, _EYES_MARGIN, 10.0),
)


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's r of two curves without drift; 0 if one is constant."""
    return pearson(without_drift(a, FPS), without_drift(b, FPS))


def best_lag(seen: Floats, true: Floats, most: int = MAX_LAG) -> int:
    """Frames by which `seen` lags behind `true` at the highest correlation."""
    lags = list(range(-most, most + 1))
    count = min(len(seen), len(true))
    scan = [
        correlation(seen[max(0, lag) : count + min(0, lag)], true[max(0, -lag) : count - max(0, lag)]) for lag in lags
    ]
    return lags[int(np.argmax(scan))]


@dataclass(frozen=True)
class Case:
    """A way to drive the mini: the drawn regions, whose landmarks and whose voice are used, and the added noise."""

    name: str
    regions: tuple[str, ...] = ()
    voice: str = "own"
    landmarks: str = "own"
    babble: bool = False


CASES = (
    Case("a: voice alone"),
    Case("a, control: another clip's voice", voice="other"),
    Case("b: all landmarks, silence", tuple(PARTS), voice="none"),
    Case("b, control: another clip's landmarks", tuple(PARTS), voice="none", landmarks="other"),
    Case("c: voice and landmarks without the mouth", SELECTED),
    Case("noise: voice with 0 dB babble", babble=True),
    Case("noise: the same with all landmarks", tuple(PARTS), babble=True),
)


@dataclass(frozen=True)
class Figures:
    """Means over clips and seeds: r (without drift) of mouth, lids and brows, and statistics of the mouth's motion.

    `worst` is the lowest r of the mouth. `lags` are those of the mouth in frames, `spread` is the ratio of the mouth's
    standard deviation to the true one, and `identity` the fraction of clips that look most like their own portrait.
    `wrist` is the r of the path of a painted hand, drift included.
    """

    case: str
    mouth: float
    worst: float
    lids: float
    brows: float
    lags: tuple[int, ...]
    spread: float
    identity: float
    wrist: float | None = None


class Faces:
    """Probes and the mean frame of each portrait, from training clips."""

    def __init__(self, trained: Sequence[MiniClip], most: int = 40) -> None:
        numbers = sorted({clip.portrait for clip in trained})
        groups = {number: [clip for clip in trained if clip.portrait == number][:most] for number in numbers}
        self._probes = {
            (number, target.name): Probe.fit(
                clips, box_around(clips, target.indices, target.margin), target.true, target.ridge
            )
            for number, clips in groups.items()
            for target in _TARGETS
        }
        self._wrists = {number: _wrist_probes(clips) for number, clips in groups.items() if clips[0].pose is not None}
        self._means = {number: np.concatenate([c.frames for c in clips]).mean(0) for number, clips in groups.items()}

    def curve(self, name: str, portrait: int, frames: Picture) -> Floats:
        """Measure a curve (T,) in frames of a portrait: "mouth", "lids" or "brows"."""
        return self._probes[portrait, name](frames)

    def correlations(self, clip: MiniClip, frames: Picture) -> dict[str, float]:
        """r of each curve that moves in the clip, between the measured curve in `frames` and the clip's own."""
        return {
            target.name: correlation(self.curve(target.name, clip.portrait, frames), target.true(clip))
            for target in _TARGETS
            if without_drift(target.true(clip), FPS).std() > STILL
        }

    def wrist(self, clip: MiniClip, frames: Picture) -> float:
        """Mean r of the two coordinates of the painted wrist, drift included."""
        probes = enumerate(self._wrists[clip.portrait])
        return float(np.mean([np.corrcoef(probe(frames), _wrist(clip, axis))[0, 1] for axis, probe in probes]))

    def nearest(self, frames: Picture) -> int:
        """The portrait whose mean frame is most like the mean of `frames`."""
        mean = frames.mean(0)
        return min(self._means, key=lambda number: float(((self._means[number] - mean) ** 2).mean()))


def _wrist(clip: MiniClip, axis: int) -> Floats:
    """One coordinate (T,) of the painted wrist in pixels."""
    assert clip.pose is not None
    return clip.pose.hands[:, 0, 0, axis] * SIDE


def _wrist_probes(clips: Sequence[MiniClip]) -> list[Probe]:
    """Probes of both coordinates of the wrist, in the box in which the hand moves."""
    joints = np.concatenate([clip.pose.hands[:, 0, :, :2] * SIDE for clip in clips if clip.pose is not None])
    low, high = np.floor(joints.min((0, 1))).astype(int), np.ceil(joints.max((0, 1))).astype(int)
    (left, top), (right, bottom) = np.clip(low, 0, SIDE), np.clip(high, 0, SIDE)
    box = slice(int(top), int(bottom)), slice(int(left), int(right))
    return [Probe.fit(clips, box, partial(_wrist, axis=axis), 30.0) for axis in (0, 1)]


class Evaluator:
    """Renders held-out clips with the ordinary engine and measures them."""

    def __init__(
        self, weights: Path, preset: Preset, portraits: Sequence[Portrait], faces: Faces, **options: object
    ) -> None:
        self._options = make_options({"dtype": "float32", "context_batch": 8, **options}, preset.defaults)
        self._engine = DiffusionEngine(preset, weights)
        self._portraits, self._faces = portraits, faces

    def measure(self, case: Case, clips: Sequence[MiniClip], seeds: Sequence[int] = (0, 1)) -> Figures:
        """Render every clip as the case says with every seed, and compare it with the clip's own curves."""
        rows: dict[str, list[float]] = {target.name: [] for target in _TARGETS}
        lags, spreads, identity, wrists = [], [], [], []
        for clip in clips:
            for seed in seeds:
                frames = self.render(clip, partner(clip, clips), case, seed)
                for name, r in self._faces.correlations(clip, frames).items():
                    rows[name].append(r)
                seen = self._faces.curve("mouth", clip.portrait, frames)
                lags.append(best_lag(seen, clip.opening))
                spreads.append(without_drift(seen, FPS).std() / without_drift(clip.opening, FPS).std())
                identity.append(self._faces.nearest(frames) == clip.portrait)
                wrists += [self._faces.wrist(clip, frames)] if clip.pose is not None else []
        means = {name: float(np.mean(values)) if values else float("nan") for name, values in rows.items()}
        return Figures(
            case=case.name,
            **means,
            worst=min(rows["mouth"]),
            lags=tuple(lags),
            spread=float(np.mean(spreads)),
            identity=float(np.mean(identity)),
            wrist=float(np.mean(wrists)) if wrists else None,
        )

    def ceiling(self, clips: Sequence[MiniClip]) -> dict[str, float]:
        """The r of the true frames after the codec, which is the highest that a mini can reach."""
        vae = self._engine.networks(torch.device("cpu"), torch.float32).vae
        with torch.inference_mode():
            shown = [np.stack(list(decode_latents(vae, encode_frames(vae, clip), batch=64))) for clip in clips]
        found = [self._faces.correlations(clip, frames) for clip, frames in zip(clips, shown, strict=True)]
        names = sorted({name for row in found for name in row})
        return {name: float(np.mean([row[name] for row in found if name in row])) for name in names}

    def render(self, clip: MiniClip, other: MiniClip, case: Case, seed: int = 0) -> Picture:
        """Frames (T, 64, 64, 3) of a clip, as long as the clip."""
        speech = speech_from_samples(sound_of(case, clip, other), SAMPLE_RATE)
        options = replace(self._options, frames=len(clip), seed=seed)
        motion = motion_of(case, clip, other)
        render = self._engine.prepare(self._portraits[clip.portrait], speech, motion, options)
        return np.stack(list(render.frames()))


def partner(clip: MiniClip, clips: Sequence[MiniClip]) -> MiniClip:
    """The other clip of a control: the next one of the same portrait, or else the next one."""
    here = next(index for index, other in enumerate(clips) if other is clip)
    following = [clips[(here + step) % len(clips)] for step in range(1, len(clips) + 1)]
    return next((other for other in following[:-1] if other.portrait == clip.portrait), following[0])


def motion_of(case: Case, clip: MiniClip, other: MiniClip) -> Motion:
    """The motion of a case, as long as the clip: its hands, or landmarks of which some regions are drawn."""
    source = clip if case.landmarks == "own" else other
    rows = np.minimum(np.arange(len(clip)), len(source) - 1)
    if source.pose is not None:
        pose = source.pose
        return replace(pose, body=pose.body[rows], hands=pose.hands[rows], face=pose.face[rows])
    return LandmarkTrack(source.points[rows], (SIDE, SIDE), FPS, np.ones(len(rows), bool), None, case.regions)


def sound_of(case: Case, clip: MiniClip, other: MiniClip) -> Floats:
    """The sound of a case, as long as the clip's own; babble is four copies of another clip's voice at 0 dB."""
    if case.voice == "none":
        return np.zeros_like(clip.sound)
    sound = clip.sound if case.voice == "own" else np.resize(other.sound, len(clip.sound))
    if not case.babble:
        return sound
    draw = np.random.default_rng(0)
    noise = sum(np.roll(np.resize(other.sound, len(sound)), int(draw.integers(len(sound)))) for _ in range(4))
    mixed = sound + np.asarray(noise) * float(sound.std() / (np.std(noise) + 1e-9))
    return (mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32)


def table(rows: Sequence[Figures]) -> str:
    """The figures as a Markdown table."""
    lines = [
        "| case | mouth r | worst clip | lids r | brows r | clips at lag 0 | spread | identity |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        at_zero = f"{row.lags.count(0)} of {len(row.lags)}"
        lines.append(
            f"| {row.case} | {row.mouth:.3f} | {row.worst:.3f} | {row.lids:.3f} | {row.brows:.3f} | {at_zero} "
            f"| {row.spread:.2f} | {row.identity:.2f} |{'' if row.wrist is None else f' {row.wrist:.3f} |'}"
        )
    if any(row.wrist is not None for row in rows):
        lines[:2] = [f"{lines[0]} wrist r |", f"{lines[1]}---|"]
    return "\n".join(lines)
