"""Generated hands of any length: they rest in silences and make beat gestures on stressed syllables.

V2 needs a motion of hands, which users rarely have. This one is generated from a voice and a seed. A beat (McNeill,
1992) has a preparation, a short stroke that ends on the stress, and a recovery; hands are raised during phrases.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echomimic.landmarks.body import Body, find_body
from echomimic.landmarks.topology import ELBOWS, HAND_BONES, NECK, SHOULDERS, WRISTS
from echomimic.media import sound_blocks
from echomimic.media.loudness import level_loudness
from echomimic.motion.body_retarget import HAND, HAND_FRACTIONS, MARGIN
from echomimic.motion.hands import ELBOW_FOLLOW
from echomimic.motion.schema import check_fps, check_image_size
from echomimic.notes import note
from echomimic.options import Options
from echomimic.signals import gaussian_smooth, runs
from echomimic.types import Floats, Portrait, PoseTrack, Speech

Array = npt.NDArray[np.float64]

FASTEST = 0.7
"""Fraction of the picture that a point of a hand may move in a second: 2.8 % between frames at 25 a second."""
STROKE, PREPARE, RECOVER = 0.2, 0.45, 0.5
"""Seconds of the stroke of a beat, of the preparation before it and of the recovery after it."""
_RAISE, _LOWER = 0.55, 0.8
_BEAT = 0.05
_SHOULDERS = 0.39
"""Width of the shoulders, as a fraction of the picture, for which sizes are given here."""
_FAN = (0.75, 0.22, 0.0, -0.2, -0.42)
"""Directions of the five fingers against that of a left hand, in radians."""
_BENT = 0.82
"""Apparent length of a bent finger against a straight one."""
_RELAXED = 0.8
"""Apparent length of a hand that is not held flat to the camera."""
_SCORE = 0.9
_OUT = (1, -1)
"""The direction away from the body in the picture, of the left and the right hand."""

RATE = 16_000
HOP, WINDOW = 160, 400
STEPS = RATE / HOP
"""Values of loudness a second."""
_LOW, _HIGH = 300.0, 3000.0
"""Band in Hz in which vowels are loud and breath, rumble and s are not."""
_QUIET = 30.0
"""Decibels below its 95th percentile at which a voice counts as silent."""
SHORTEST_PAUSE = 0.35
_SHORTEST_GAP = 0.32
_RISE = 1.5
"""Decibels by which a syllable is louder than the dips beside it."""


@dataclass(frozen=True)
class Rhythm:
    """Seconds of `stresses`, their `strengths` (0..1), and `phrases` (start, end) between pauses."""

    stresses: tuple[float, ...]
    strengths: tuple[float, ...]
    phrases: tuple[tuple[float, float], ...]


def detect_rhythm(speech: Speech) -> Rhythm:
    """Detect the rhythm of a voice; empty for silence."""
    loudness = np.concatenate([np.zeros(0), *_levels(speech)])
    if speech.silent or len(loudness) < 10:
        return Rhythm((), (), ())
    floor = max(float(np.percentile(loudness, 95)) - _QUIET, -70.0)
    spoken = _without_short_runs(loudness > floor, round(SHORTEST_PAUSE * STEPS))
    phrases = tuple((a / STEPS, b / STEPS) for a, b in runs(spoken) if b - a > 0.25 * STEPS)
    peaks, weights = _stressed(gaussian_smooth(loudness, 0.035 * STEPS, int(3 * 0.035 * STEPS)), spoken)
    return Rhythm(tuple((peaks / STEPS).tolist()), tuple(weights.tolist()), phrases)


def _levels(speech: Speech) -> Iterator[Array]:
    """Level in decibels in the band of vowels, 100 values a second, each centred on its time."""
    taper = np.hanning(WINDOW)
    pitch = np.fft.rfftfreq(WINDOW, 1 / RATE)
    band = (pitch >= _LOW) & (pitch <= _HIGH)
    left: Floats = np.zeros(WINDOW // 2, np.float32)
    for block in level_loudness(sound_blocks(speech, RATE), RATE):
        samples = np.concatenate([left, block])
        count = max(0, (len(samples) - WINDOW) // HOP + 1)
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP][:count]
            power = (np.abs(np.fft.rfft(frames * taper, axis=1)[:, band]) ** 2).sum(axis=1)
            yield 10 * np.log10(power / WINDOW + 1e-9)
        left = samples[count * HOP :]


def _without_short_runs(spoken: npt.NDArray[np.bool_], least: int) -> npt.NDArray[np.bool_]:
    """Speech flags with short gaps closed, since stop consonants and hesitations are not pauses."""
    closed = spoken.copy()
    for a, b in runs(~spoken):
        if b - a < least and a > 0 and b < len(spoken):
            closed[a:b] = True
    return closed


def _stressed(level: Array, spoken: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """The steps at which stressed syllables peak, and their strengths.

    A syllable is a peak of loudness between two dips. It is stressed if it is louder than its surroundings within a
    second and a half, and no stronger one is near.
    """
    inner = (level[1:-1] >= level[:-2]) & (level[1:-1] > level[2:]) & spoken[1:-1]
    peaks = np.flatnonzero(inner) + 1
    peaks = peaks[[_rise(level, int(peak)) >= _RISE for peak in peaks]] if len(peaks) else peaks
    if not len(peaks):
        return np.zeros(0), np.zeros(0)
    usual = gaussian_smooth(np.where(spoken, level, level[spoken].mean()), 0.6 * STEPS)
    score = level[peaks] - usual[peaks] + _above_neighbours(level, peaks)
    chosen: list[int] = []
    for index in np.argsort(-score):
        near = [abs(peaks[index] - peaks[other]) < _SHORTEST_GAP * STEPS for other in chosen]
        if not any(near) and score[index] >= np.median(score) - 1.0:
            chosen.append(int(index))
    chosen.sort()
    strong = score[chosen]
    spread = max(float(np.ptp(strong)), 1e-6)
    return peaks[chosen].astype(np.float64), (strong - strong.min()) / spread


def _above_neighbours(level: Array, peaks: npt.NDArray[np.intp]) -> Array:
    """The level of each peak above the mean of those within 0.6 s."""
    apart = np.abs(peaks[:, None] - peaks)
    near = (apart < 0.6 * STEPS) & (apart > 0)
    count = near.sum(axis=1)
    mean = (near * level[peaks]).sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, level[peaks] - mean, 0.0)


def _rise(level: Array, peak: int) -> float:
    """The level of a peak above the louder of the two dips within 0.25 s beside it."""
    reach = round(0.25 * STEPS)
    before, after = level[max(0, peak - reach) : peak + 1], level[peak : peak + reach + 1]
    return float(level[peak] - max(before.min(), after.min()))


@dataclass(frozen=True)
class _RestHand:
    """A hand at rest: its 21 points from the wrist, and the wrist, in pixels."""

    shape: Array
    wrist: Array


def gesture_track(
    speech: Speech,
    fps: float = 25.0,
    frames: int | None = None,
    seed: int = 0,
    body: Body | None = None,
    size: tuple[int, int] = (768, 768),
    strength: float = 1.0,
) -> PoseTrack:
    """Hands (T, 2, 21, 3) that move with a voice, and the body they belong to, in fractions of a picture of `size`.

    With the `body` of a portrait the motion starts from and returns to its own hands; without one, a body in V2's usual
    framing is used. `frames` is by default the length of the voice. `strength` 0 gives idle hands. No point moves
    faster than 3 % of the picture between frames at 25 a second. The same inputs and seed give the same track.
    """
    check_fps(fps, "the wanted hands")
    check_image_size(size, "the portrait")
    count = speech.frames(fps) if frames is None else frames
    base = _usual_body(size) if body is None else body.body
    rests = [_rest_of(body, base, side, size) for side in (0, 1)]
    points = base[:, :2] * np.array(size, np.float64)
    unit = float(np.linalg.norm(points[SHOULDERS[0]] - points[SHOULDERS[1]])) / _SHOULDERS
    times = np.arange(count) / fps
    moves = _limit_speed(_moves(detect_rhythm(speech), times, seed, strength), rests, unit, size, fps)
    hands = np.stack([_pose_hand(rests[side], moves[side], unit, size) for side in (0, 1)], axis=1)
    return _as_track(base, hands, body, fps, size)


def portrait_gestures(portrait: Portrait, speech: Speech, options: Options, body: Body | None = None) -> PoseTrack:
    """Generate the hands that V2 follows if no motion is given; `body` is the portrait's, if it is known already.

    FaceError if nobody is found in the portrait.
    """
    size, frames = (portrait.width, portrait.height), options.frames or None
    found, strength = body or find_body(portrait), options.motion_strength
    return gesture_track(speech, options.fps, frames, options.seed, found, size, strength)


def _usual_body(size: tuple[int, int]) -> Floats:
    """Shoulders, neck, head and arms in V2's usual framing, hands before the waist; undistorted at any aspect ratio."""
    places = {0: (0.0, -0.72), 1: (0.0, 0.0), 5: (0.5, 0.02), 2: (-0.5, 0.02), 6: (0.66, 0.78), 3: (-0.66, 0.78)}
    places |= {
        7: (0.36, 0.98),
        4: (-0.36, 0.98),
        14: (-0.07, -0.8),
        15: (0.07, -0.8),
        16: (-0.17, -0.75),
        17: (0.17, -0.75),
    }
    side = min(size)
    body = np.zeros((18, 3), np.float32)
    for joint, (x, y) in places.items():
        body[joint] = (0.5 + x * _SHOULDERS * side / size[0], 0.5 + y * _SHOULDERS * side / size[1], 1)
    return body


def _rest_of(body: Body | None, base: Floats, side: int, size: tuple[int, int]) -> _RestHand:
    """The portrait's own hand, or one of average proportions if it shows none."""
    if body is not None and body.has_hand(side):
        points = body.hands[side, :, :2] * np.array(size, np.float64)
        return _RestHand(points - points[0], points[0])
    if body is not None:
        note(
            "hand_not_shown",
            "the portrait shows no {side} hand; one is drawn where it would rest",
            side=("left", "right")[side],
        )
    shoulders = base[list(SHOULDERS), :2] * np.array(size, np.float64)
    width = float(np.linalg.norm(shoulders[0] - shoulders[1]))
    out = _OUT[side]
    neck = base[NECK, :2] * np.array(size, np.float64)
    wrist = neck + np.array((out * 0.5, 0.95)) * width
    shape = _made_hand(_RELAXED * HAND * width) * (out, 1)
    room = np.array(size) * (1 - 4 * MARGIN)
    return _RestHand(shape, np.minimum(wrist, room - np.maximum(shape.max(axis=0), 0)))


def _made_hand(length: float) -> Array:
    """A relaxed left hand (21, 2) from its wrist, pointing to the middle of the body and a little down."""
    points = np.zeros((21, 2))
    for bone, (a, b) in enumerate(HAND_BONES):
        angle = np.pi - 0.3 + _FAN[bone // 4] - 0.14 * (bone % 4)
        bent = 1.0 if bone % 4 == 0 else _BENT
        points[b] = points[a] + HAND_FRACTIONS[bone] * length * bent * np.array((np.cos(angle), np.sin(angle)))
    return points


def _moves(rhythm: Rhythm, times: Array, seed: int, strength: float) -> Array:
    """Moves (2, T, 4): for each hand right and down (fractions of the picture), turn (radians) and opening."""
    draw = np.random.default_rng([seed, 0x6E57])
    moves = np.stack([_idle(times, draw, out) for out in _OUT])
    for start, end in rhythm.phrases:
        _add_phrase(moves, times, start, end, draw, strength)
    before = -10.0
    for at, strong in zip(rhythm.stresses, rhythm.strengths, strict=True):
        if at - before < STROKE + 0.2 or draw.random() > 0.6 + 0.4 * strong:
            continue
        _add_beat(moves, times, at, at - before, strong, draw, strength)
        before = at
    return moves


def _idle(times: Array, draw: np.random.Generator, out: int) -> Array:
    """Small motion of idle hands: breathing and a slow drift."""
    breath = 0.0016 * np.sin(2 * np.pi * 0.23 * times + 0.4)
    drift = np.zeros((4, len(times)))
    for row, size in enumerate((0.0022, 0.0022, 0.012, 0.006)):
        for pitch in draw.uniform(0.05, 0.4, 4):
            drift[row] += size / 2 * np.sin(2 * np.pi * pitch * times + draw.uniform(0, 6.3))
    return np.stack([out * drift[0], drift[1] + breath, drift[2], drift[3]], axis=-1)


def _add_phrase(
    moves: Array, times: Array, start: float, end: float, draw: np.random.Generator, strength: float
) -> None:
    """Raise the hands and move them apart during a phrase."""
    lead = draw.integers(2)
    full = _ease((times - start + 0.35) / _RAISE) * (1 - _ease((times - end + 0.1) / _LOWER))
    for side, out in enumerate(_OUT):
        scale = strength * (1.0 if side == lead else draw.uniform(0.35, 0.9))
        target = np.array(
            (out * draw.uniform(-0.01, 0.03), -draw.uniform(0.02, 0.055), out * draw.uniform(-0.1, 0.06), 0.02)
        )
        moves[side] += scale * full[:, None] * target


def _add_beat(
    moves: Array, times: Array, at: float, gap: float, strong: float, draw: np.random.Generator, strength: float
) -> None:
    """Add one beat of one hand or both: up, then down so that the stroke ends at `at`, then slowly back."""
    which = draw.choice([(1.0, 0.25), (0.25, 1.0), (1.0, 0.85)], p=(0.3, 0.3, 0.4))
    size = _BEAT * strength * (0.55 + 0.45 * strong) * draw.uniform(0.8, 1.15)
    prepare = min(PREPARE, max(gap - STROKE, 0.15))
    up = _ease((times - (at - STROKE - prepare)) / prepare)
    down = _ease((times - (at - STROKE)) / STROKE)
    back = _ease((times - (at + 0.08)) / RECOVER)
    height = -0.6 * up + down - 0.4 * back
    aside = 0.3 * (up - back)
    for side, out in enumerate(_OUT):
        amount = size * which[side]
        moves[side, :, 1] += amount * height
        moves[side, :, 0] += out * amount * aside * draw.uniform(0.4, 1.0)
        moves[side, :, 2] += out * amount * 1.6 * height
        moves[side, :, 3] += amount * 1.5 * (up - back)


def _ease(x: Array) -> Array:
    """Minimum-jerk step from 0 to 1 (Flash and Hogan, 1985)."""
    u = np.clip(x, 0, 1)
    return np.asarray(u * u * u * (10 - 15 * u + 6 * u * u))


def _pose_hand(rest: _RestHand, moves: Array, unit: float, size: tuple[int, int]) -> Array:
    """Hands (T, 21, 2) in pixels: the hand at rest, turned, opened and moved, and shifted into the picture."""
    turn, opening = moves[:, 2], 1 + moves[:, 3]
    spin = np.stack([np.stack([np.cos(turn), -np.sin(turn)], -1), np.stack([np.sin(turn), np.cos(turn)], -1)], -2)
    shape = np.einsum("tij,pj->tpi", spin, rest.shape) * opening[:, None, None]
    hands = rest.wrist + moves[:, None, :2] * unit + shape
    room = np.array(size) * MARGIN
    low, high = room - hands.min(axis=1), np.array(size) - room - hands.max(axis=1)
    return np.asarray(hands + np.where(low > high, 0, np.clip(0, low, high))[:, None])


def _limit_speed(moves: Array, rests: list[_RestHand], unit: float, size: tuple[int, int], fps: float) -> Array:
    """The moves, scaled down around every frame in which a point would move faster than `FASTEST`."""
    for _ in range(8):
        hands = np.stack([_pose_hand(rest, move, unit, size) for rest, move in zip(rests, moves, strict=True)], axis=1)
        steps = np.linalg.norm(np.diff(hands, axis=0) / np.array(size), axis=-1)
        fast = np.append(steps.max(axis=(1, 2), initial=0) * fps / FASTEST, 0)
        if fast.max(initial=0) <= 1:
            break
        moves = moves / _widened_maximum(np.maximum(fast * 1.02, 1), round(0.6 * fps))[None, :, None]
    return moves


def _widened_maximum(values: Array, reach: int) -> Array:
    """The maximum within `reach`, smoothed by a Hann window."""
    padded = np.pad(values, reach, mode="edge")
    largest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    weights = np.hanning(2 * reach + 3)[1:-1]
    return np.convolve(np.pad(largest, reach, mode="edge"), weights / weights.sum(), mode="valid")


def _as_track(base: Floats, hands: Array, body: Body | None, fps: float, size: tuple[int, int]) -> PoseTrack:
    count = len(hands)
    places = hands / np.array(size)
    bodies = np.tile(base, (count, 1, 1))
    for side in (0, 1):
        move = places[:, side, 0] - places[:1, side, 0]
        bodies[:, WRISTS[side], :2] = places[:, side, 0]
        bodies[:, ELBOWS[side], :2] += ELBOW_FOLLOW * move
    scored = np.concatenate([places, np.full((count, 2, 21, 1), _SCORE)], axis=-1).astype(np.float32)
    face = np.zeros((68, 3), np.float32) if body is None else body.face
    return PoseTrack(bodies.astype(np.float32), scored, np.tile(face, (count, 1, 1)), fps, size)
