"""The judge of the mini: how well rendered clips follow the voice and the landmarks, read off pixels by regression.

A ridge regression from pixels of the true frames to the mesh engine's curves needs no network and no landmarks. Figures
are Pearson correlations after removing a moving average of one second, which slow drifts would inflate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from echomimic.diffusion.condition_images import PARTS, SELECTED
from echomimic.diffusion.engine import DiffusionEngine
from echomimic.media import speech_from_samples
from echomimic.mesh.speech_to_face import SAMPLE_RATE
from echomimic.options import make_options
from echomimic.presets import resolve_preset
from echomimic.train.diffusion.mini import PRESET
from echomimic.train.diffusion.mini_data import FPS, SIDE, MiniClip
from echomimic.types import Floats, LandmarkTrack, Picture, Portrait

MOUTH = (slice(34, 62), slice(16, 48))
EYES = (slice(12, 34), slice(10, 54))
MAX_LAG = 6
_RIDGE = 30.0


@dataclass(frozen=True)
class Probe:
    """Reads a curve off frames: a linear function of the pixels of a box."""

    box: tuple[slice, slice]
    weights: Floats
    mean: Floats
    offset: float

    @classmethod
    def fit(cls, clips: Sequence[MiniClip], box: tuple[slice, slice], target: Callable[[MiniClip], Floats]) -> "Probe":
        """Ridge regression from the true frames of `clips` to their `target` curves."""
        pixels = np.concatenate([_pixels(clip.frames, box) for clip in clips])
        values = np.concatenate([target(clip) for clip in clips])
        mean, offset = pixels.mean(0), float(values.mean())
        centred = pixels - mean
        gram = centred.T @ centred + _RIDGE * np.eye(centred.shape[1], dtype=np.float32)
        return cls(box, np.linalg.solve(gram, centred.T @ (values - offset)), mean, offset)

    def __call__(self, frames: Picture) -> Floats:
        """The curve (T,) of frames (T, H, W, 3)."""
        return (_pixels(frames, self.box) - self.mean) @ self.weights + self.offset


def _pixels(frames: Picture, box: tuple[slice, slice]) -> Floats:
    part = frames[:, box[0], box[1]]
    return part.reshape(len(part), -1).astype(np.float32) / 255


def without_drift(values: Floats, fps: float = FPS) -> npt.NDArray[np.float64]:
    """A curve (T,) minus its moving average over a second."""
    width = 2 * int(fps / 2) + 1
    padded = np.pad(np.asarray(values, np.float64), width // 2, mode="edge")
    return values - np.convolve(padded, np.full(width, 1 / width), "valid")


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's r of two curves without drift; 0 if one is constant."""
    x, y = without_drift(a), without_drift(b)
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / size) if size > 1e-12 else 0.0


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
    """A way to drive the mini: which regions are drawn, whose landmarks and whose voice, and noise in it."""

    name: str
    regions: tuple[str, ...]
    voice: str = "own"
    landmarks: str = "own"
    babble: bool = False


CASES = (
    Case("a: voice alone", ()),
    Case("a, control: another clip's voice", (), voice="other"),
    Case("b: all landmarks, silence", tuple(PARTS), voice="none"),
    Case("b, control: another clip's landmarks", tuple(PARTS), voice="none", landmarks="other"),
    Case("c: voice and landmarks without the mouth", SELECTED),
    Case("noise: voice with 0 dB babble", (), babble=True),
    Case("noise: the same with all landmarks", tuple(PARTS), babble=True),
)


@dataclass(frozen=True)
class Figures:
    """Means over clips: correlations of mouth, lids and brows, lags of the mouth, spread ratio, identity."""

    case: str
    mouth: float
    lids: float
    brows: float
    lags: tuple[int, ...]
    spread: float
    identity: float


class Judge:
    """Renders held-out clips with the ordinary engine and measures them."""

    def __init__(self, weights: Path, portraits: Sequence[Portrait], trained: Sequence[MiniClip], **options: object):
        preset, _ = resolve_preset(PRESET, weights=weights)
        self._options = make_options({"workers": 1, "dtype": "float32", **options}, preset.defaults)
        self._engine = DiffusionEngine(preset, weights)
        self._portraits = portraits
        self._mouth = Probe.fit(trained, MOUTH, lambda clip: clip.opening)
        self._lids = Probe.fit(trained, EYES, lambda clip: clip.curves["blink"])
        self._brows = Probe.fit(trained, EYES, lambda clip: clip.curves["brow"])
        numbers = sorted({clip.portrait for clip in trained})
        self._faces = np.stack(
            [np.concatenate([c.frames for c in trained if c.portrait == n]).mean(0) for n in numbers]
        )

    def ceiling(self, clips: Sequence[MiniClip]) -> float:
        """The probe's own correlation on true held-out frames."""
        return float(np.mean([correlation(self._mouth(clip.frames), clip.opening) for clip in clips]))

    def measure(self, case: Case, clips: Sequence[MiniClip]) -> Figures:
        """Render every clip as the case says, and compare it with the clip's own curves."""
        rows, lags, seen_all, true_all, identity = [], [], [], [], []
        for index, clip in enumerate(clips):
            other = clips[(index + 1) % len(clips)]
            frames = self.render(clip, other, case)
            seen = self._mouth(frames)
            rows.append(
                (
                    correlation(seen, clip.opening),
                    correlation(self._lids(frames), clip.curves["blink"]),
                    correlation(self._brows(frames), clip.curves["brow"]),
                )
            )
            lags.append(best_lag(seen, clip.opening))
            seen_all.append(without_drift(seen))
            true_all.append(without_drift(clip.opening))
            distances = ((self._faces - frames.mean(0)) ** 2).mean(axis=(1, 2, 3))
            identity.append(int(np.argmin(distances)) == clip.portrait)
        mouth, lids, brows = np.mean(rows, axis=0)
        spread = float(np.concatenate(seen_all).std() / np.concatenate(true_all).std())
        return Figures(
            case.name, float(mouth), float(lids), float(brows), tuple(lags), spread, float(np.mean(identity))
        )

    def render(self, clip: MiniClip, other: MiniClip, case: Case) -> Picture:
        """Frames (T, 64, 64, 3) of a clip, as long as the clip."""
        points = (clip if case.landmarks == "own" else other).points
        points = points[np.minimum(np.arange(len(clip)), len(points) - 1)]
        track = LandmarkTrack(points, (SIDE, SIDE), FPS, np.ones(len(points), bool), None, case.regions)
        speech = speech_from_samples(_sound(clip, other, case), SAMPLE_RATE)
        options = replace(self._options, frames=len(clip))
        render = self._engine.prepare(self._portraits[clip.portrait], speech, track, options)
        return np.stack(list(render.frames()))


def _sound(clip: MiniClip, other: MiniClip, case: Case) -> Floats:
    """The sound of a case, as long as the clip's own."""
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
    lines = ["| case | mouth r | lids r | brows r | lag | spread | identity |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        lags = ", ".join(map(str, row.lags))
        lines.append(
            f"| {row.case} | {row.mouth:.3f} | {row.lids:.3f} | {row.brows:.3f} | {lags} "
            f"| {row.spread:.2f} | {row.identity:.2f} |"
        )
    return "\n".join(lines)
