"""Hands from nothing, of any length: idle hands that rest in silences and beat time on stressed syllables.

V2 needs hands and users have no files of them. This motion is made up here, from a seed: after McNeill's beats (a
preparation, a short stroke that lands on the stress, a way back), within phrases for which the hands are raised.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echomimic.landmarks.body import Body, find_body
from echomimic.landmarks.topology import ELBOWS, HAND_BONES, NECK, SHOULDERS, WRISTS
from echomimic.motion.body_retarget import HAND, HAND_SHARES, MARGIN
from echomimic.motion.hands import ELBOW_SHARE
from echomimic.motion.rhythm import Rhythm, hear_rhythm
from echomimic.motion.schema import check_canvas, check_fps
from echomimic.notes import note
from echomimic.options import Options
from echomimic.types import Floats, Portrait, PoseTrack, Speech

Array = npt.NDArray[np.float64]

FASTEST = 0.7
"""Shares of the picture that a point of a hand may move in a second: 2.8 % between frames at 25 a second."""
STROKE, PREPARE, RECOVER = 0.2, 0.45, 0.5
"""Seconds that a beat takes to come down on its stress, to be raised before, and to settle after."""
_RAISE, _LOWER = 0.55, 0.8
_BEAT = 0.05
_SHOULDERS = 0.39
"""Width of the shoulders, in shares of the picture, for which sizes are given here."""
_FAN = (0.75, 0.22, 0.0, -0.2, -0.42)
"""Directions of the five fingers against the hand's own, in radians, for a left hand; and how bent fingers look."""
_BENT = 0.82
_RELAXED = 0.8
"""How long a hand looks that is not held flat to the camera."""
_SCORE = 0.9


@dataclass(frozen=True)
class _Rest:
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
    """Hands (T, 2, 21, 3) that go with a voice, and the body they hang on, in shares of a picture of `size`.

    With the `body` of a portrait its own hands are where everything starts from and returns to; without one, a body of
    V2's usual framing is taken. `frames` is by default the length of the voice. `strength` 0 leaves idle hands. No
    point moves faster than 3 % of the picture between frames at 25 a second. Same inputs and seed: the same track.
    """
    check_fps(fps, "the wanted hands")
    check_canvas(size, "the portrait")
    count = speech.frames(fps) if frames is None else frames
    base = _usual_body(size) if body is None else body.body
    rests = [_rest_of(body, base, side, size) for side in (0, 1)]
    points = base[:, :2] * np.array(size, np.float64)
    unit = float(np.linalg.norm(points[SHOULDERS[0]] - points[SHOULDERS[1]])) / _SHOULDERS
    times = np.arange(count) / fps
    moves = _calmed(_moves(hear_rhythm(speech), times, seed, strength), rests, unit, size, fps)
    hands = np.stack([_posed(rests[side], moves[side], unit, size) for side in (0, 1)], axis=1)
    return _as_track(base, hands, body, fps, size)


def portrait_gestures(portrait: Portrait, speech: Speech, options: Options, body: Body | None = None) -> PoseTrack:
    """The hands that V2 follows where it is given no motion; `body` is the portrait's, where it is known already.

    FaceError where nobody is found in the portrait.
    """
    size, frames = (portrait.width, portrait.height), options.frames or None
    found, strength = body or find_body(portrait), options.motion_strength
    return gesture_track(speech, options.fps, frames, options.seed, found, size, strength)


def _usual_body(size: tuple[int, int]) -> Floats:
    """Shoulders, neck, head and arms of V2's usual framing, hands before the waist; y keeps its shape on any canvas."""
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


def _rest_of(body: Body | None, base: Floats, side: int, size: tuple[int, int]) -> _Rest:
    """The portrait's own hand, or one made of the usual bones where it shows none."""
    if body is not None and body.has_hand(side):
        points = body.hands[side, :, :2] * np.array(size, np.float64)
        return _Rest(points - points[0], points[0])
    if body is not None:
        note(
            "hand_not_shown",
            "the portrait shows no {side} hand; one is drawn where it would rest",
            side=("left", "right")[side],
        )
    shoulders = base[list(SHOULDERS), :2] * np.array(size, np.float64)
    width = float(np.linalg.norm(shoulders[0] - shoulders[1]))
    out = 1 if side == 0 else -1
    neck = base[NECK, :2] * np.array(size, np.float64)
    wrist = neck + np.array((out * 0.5, 0.95)) * width
    shape = _made_hand(_RELAXED * HAND * width) * (out, 1)
    room = np.array(size) * (1 - 4 * MARGIN)
    return _Rest(shape, np.minimum(wrist, room - np.maximum(shape.max(axis=0), 0)))


def _made_hand(length: float) -> Array:
    """A relaxed left hand (21, 2) from its wrist, pointing to the middle of the body and a little down."""
    points = np.zeros((21, 2))
    for bone, (a, b) in enumerate(HAND_BONES):
        angle = np.pi - 0.3 + _FAN[bone // 4] - 0.14 * (bone % 4)
        bent = 1.0 if bone % 4 == 0 else _BENT
        points[b] = points[a] + HAND_SHARES[bone] * length * bent * np.array((np.cos(angle), np.sin(angle)))
    return points


def _moves(rhythm: Rhythm, times: Array, seed: int, strength: float) -> Array:
    """(2, T, 4): for each hand how far right, how far down (shares of the picture), turn (radians) and opening."""
    draw = np.random.default_rng([seed, 0x6E57])
    moves = np.stack([_idle(times, draw, 1 if side == 0 else -1) for side in (0, 1)])
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
    """Hands that are never quite still: breath, and a slow drift, both small."""
    breath = 0.0016 * np.sin(2 * np.pi * 0.23 * times + 0.4)
    drift = np.zeros((4, len(times)))
    for row, size in enumerate((0.0022, 0.0022, 0.012, 0.006)):
        for pitch in draw.uniform(0.05, 0.4, 4):
            drift[row] += size / 2 * np.sin(2 * np.pi * pitch * times + draw.uniform(0, 6.3))
    return np.stack([out * drift[0], drift[1] + breath, drift[2], drift[3]], axis=-1)


def _add_phrase(
    moves: Array, times: Array, start: float, end: float, draw: np.random.Generator, strength: float
) -> None:
    """While a phrase lasts the hands are raised and apart; a pause brings them back to rest."""
    lead = draw.integers(2)
    full = _ease((times - start + 0.35) / _RAISE) * (1 - _ease((times - end + 0.1) / _LOWER))
    for side in (0, 1):
        out = 1 if side == 0 else -1
        share = strength * (1.0 if side == lead else draw.uniform(0.35, 0.9))
        target = np.array(
            (out * draw.uniform(-0.01, 0.03), -draw.uniform(0.02, 0.055), out * draw.uniform(-0.1, 0.06), 0.02)
        )
        moves[side] += share * full[:, None] * target


def _add_beat(
    moves: Array, times: Array, at: float, gap: float, strong: float, draw: np.random.Generator, strength: float
) -> None:
    """One beat: up, then down so that it lands at `at`, then slowly back. One hand or both."""
    which = draw.choice([(1.0, 0.25), (0.25, 1.0), (1.0, 0.85)], p=(0.3, 0.3, 0.4))
    size = _BEAT * strength * (0.55 + 0.45 * strong) * draw.uniform(0.8, 1.15)
    prepare = min(PREPARE, max(gap - STROKE, 0.15))
    up = _ease((times - (at - STROKE - prepare)) / prepare)
    down = _ease((times - (at - STROKE)) / STROKE)
    back = _ease((times - (at + 0.08)) / RECOVER)
    line = -0.6 * up + down * 1.0 - 0.4 * back
    aside = 0.3 * (up - back)
    for side in (0, 1):
        out = 1 if side == 0 else -1
        amount = size * which[side]
        moves[side, :, 1] += amount * line
        moves[side, :, 0] += out * amount * aside * draw.uniform(0.4, 1.0)
        moves[side, :, 2] += out * amount * 1.6 * line
        moves[side, :, 3] += amount * 1.5 * (up - back)


def _ease(x: Array) -> Array:
    """From 0 to 1 with the least jerk (Flash and Hogan, 1985)."""
    u = np.clip(x, 0, 1)
    return np.asarray(u * u * u * (10 - 15 * u + 6 * u * u))


def _posed(rest: _Rest, moves: Array, unit: float, size: tuple[int, int]) -> Array:
    """Hands (T, 21, 2) in pixels: the hand at rest turned, opened and moved, kept inside the picture."""
    turn, opening = moves[:, 2], 1 + moves[:, 3]
    spin = np.stack([np.stack([np.cos(turn), -np.sin(turn)], -1), np.stack([np.sin(turn), np.cos(turn)], -1)], -2)
    shape = np.einsum("tij,pj->tpi", spin, rest.shape) * opening[:, None, None]
    hands = rest.wrist + moves[:, None, :2] * unit + shape
    room = np.array(size) * MARGIN
    low, high = room - hands.min(axis=1), np.array(size) - room - hands.max(axis=1)
    return np.asarray(hands + np.where(low > high, 0, np.clip(0, low, high))[:, None])


def _calmed(moves: Array, rests: list[_Rest], unit: float, size: tuple[int, int], fps: float) -> Array:
    """The moves, weaker round every moment at which a point would move faster than `FASTEST`."""
    for _ in range(8):
        hands = np.stack([_posed(rest, move, unit, size) for rest, move in zip(rests, moves, strict=True)], axis=1)
        steps = np.linalg.norm(np.diff(hands, axis=0) / np.array(size), axis=-1)
        fast = np.append(steps.max(axis=(1, 2), initial=0) * fps / FASTEST, 0)
        if fast.max(initial=0) <= 1:
            break
        moves = moves / _spread(np.maximum(fast * 1.02, 1), round(0.6 * fps))[None, :, None]
    return moves


def _spread(values: Array, reach: int) -> Array:
    """The largest value within reach, then smoothed, so that a limit comes and goes gently."""
    padded = np.pad(values, reach, mode="edge")
    largest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    weights = np.hanning(2 * reach + 3)[1:-1]
    return np.convolve(np.pad(largest, reach, mode="edge"), weights / weights.sum(), mode="valid")


def _as_track(base: Floats, hands: Array, body: Body | None, fps: float, size: tuple[int, int]) -> PoseTrack:
    count = len(hands)
    shares = hands / np.array(size)
    bodies = np.tile(base, (count, 1, 1))
    for side in (0, 1):
        move = shares[:, side, 0] - shares[:1, side, 0]
        bodies[:, WRISTS[side], :2] = shares[:, side, 0]
        bodies[:, ELBOWS[side], :2] += ELBOW_SHARE * move
    scored = np.concatenate([shares, np.full((count, 2, 21, 1), _SCORE)], axis=-1).astype(np.float32)
    face = np.zeros((68, 3), np.float32) if body is None else body.face
    return PoseTrack(bodies.astype(np.float32), scored, np.tile(face, (count, 1, 1)), fps, size)
