"""Metrics of lip sync: offset, correlation, closures of the lips; Sync-C and Sync-D (Chung and Zisserman 2016)."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.evaluate.container import Values
from echomimic.evaluate.landmarks import Faces
from echomimic.evaluate.learned_metrics import Network, features
from echomimic.landmarks.topology import SKIN
from echomimic.media import Video, sound_blocks
from echomimic.mesh.expected_mouth import ExpectedMouth
from echomimic.motion.lags import STILL_MOUTH, Sync
from echomimic.types import Floats, Picture, Speech

_SHUT = 0.2
"""Lips count as shut in the lowest fifth of the way from their closest to their usual widest."""
_NEAR = 0.05
"""Seconds round a closure in which the lips may shut."""


def sync_metrics(sync: Sync | None) -> Values:
    """Offset and correlation (see the catalogue); all None if nothing moves or nothing is heard."""
    if sync is None:
        names = ("offset_frames", "offset_seconds", "correlation", "correlation_as_played", "confidence")
        return {f"sync_{name}": None for name in names}
    peak = float(sync.scan.max())
    return {
        "sync_offset_frames": float(sync.offset),
        "sync_offset_seconds": sync.seconds,
        "sync_correlation": peak,
        "sync_correlation_as_played": float(sync.scan[sync.lag]),
        "sync_confidence": peak - float(np.median(sync.scan)),
    }


def closure_metrics(seen: Floats, expected: ExpectedMouth, fps: float, late: float) -> Values:
    """Fraction of p, b and m at which the lips shut, with the sound's lateness `late` (seconds) taken out.

    `closure_chance` is the fraction of instants at which a closure would have been counted anyway.
    """
    low, high = (float(np.percentile(seen, fraction)) for fraction in (2, 95)) if len(seen) else (0.0, 0.0)
    if high - low < STILL_MOUTH:
        return {"closure_hits": None, "closure_chance": None, "closure_count": float(len(expected.closures))}
    shut = seen <= low + _SHUT * (high - low)
    hits = [
        hit for start, stop in expected.closures if (hit := _shuts(shut, start - late, stop - late, fps)) is not None
    ]
    usual = float(np.mean([stop - start for start, stop in expected.closures])) if hits else 0.0
    times = np.arange(len(seen)) / fps
    chance = [hit for time in times if (hit := _shuts(shut, time, time + usual, fps)) is not None]
    return {
        "closure_hits": float(np.mean(hits)) if hits else None,
        "closure_chance": float(np.mean(chance)) if hits else None,
        "closure_count": float(len(hits)),
    }


def _shuts(shut: npt.NDArray[np.bool_], start: float, stop: float, fps: float) -> bool | None:
    """Return True if the lips shut within a time span; None outside the video. Frames count at their middle."""
    first, last = int(np.ceil((start - _NEAR) * fps - 0.5)), int(np.floor((stop + _NEAR) * fps - 0.5))
    if first < 0 or last >= len(shut) or last < first:
        return None
    return bool(shut[first : last + 1].any())


FPS, RATE = 25, 16000
SIDE, SPAN, COLUMNS = 224, 5, 20
"""Pixels of the crop; frames, and columns of cepstrum, that are seen together."""
LAG = 15
MARGIN = 0.4
"""Margin around the face's box, in fractions of it, as the published pipeline crops."""
JPEG = 95
"""Quality of the codec that every crop goes through, so that the clip's own codec weighs less."""
NAMES = ("sync_c", "sync_d", "syncnet_offset_frames")
_EPSILON = 1e-6
"""What torch's pairwise distance adds to each difference; the published figures have it."""


@dataclass(frozen=True)
class SyncNet:
    """`lips`: (n, 3, 5, 224, 224) BGR 0..255 to (n, 1024); `voice`: cepstra (n, 1, 13, 20) to (n, 1024)."""

    lips: Network
    voice: Network


def syncnet_metrics(network: SyncNet, video: Video, faces: Faces, speech: Speech) -> Values:
    """Sync-C, Sync-D and the offset; all None for clips shorter than 6 frames."""
    sound = np.concatenate(list(sound_blocks(speech, RATE)))
    lips = features(network.lips, islice(_spans(mouth_crops(video, faces)), max(0, len(sound) * FPS // RATE - SPAN)))
    count = len(lips)
    if count < 1:
        return dict.fromkeys(NAMES)
    cepstra = cepstrum(sound * np.float32(32768)).T
    voice = features(network.voice, (cepstra[None, :, 4 * i : 4 * i + COLUMNS] for i in range(count)))
    return sync_scores(lips, voice, LAG)


def _spans(crops: Iterable[Picture]) -> Iterator[npt.NDArray[np.uint8]]:
    """(3, 5, 224, 224) from every five crops in a row but the last five, which the published code leaves out too."""
    held: deque[Picture] = deque(maxlen=SPAN)
    for crop in crops:
        if len(held) == SPAN:
            yield np.stack(held).transpose(3, 0, 1, 2)
        held.append(crop)


def sync_scores(lips: Floats, voice: Floats, lag: int) -> Values:
    """From embeddings (n, d): mean distance for each lag, its minimum (D), median minus minimum (C), and its lag.

    Beyond its ends the voice is taken for zeros, as in the published code.
    """
    padded = np.pad(voice.astype(np.float64), ((lag, lag), (0, 0)))
    seen = lips.astype(np.float64)
    distances = [
        np.linalg.norm(seen - padded[shift : shift + len(seen)] + _EPSILON, axis=1).mean()
        for shift in range(2 * lag + 1)
    ]
    least = float(np.min(distances))
    return {
        "sync_c": float(np.median(distances)) - least,
        "sync_d": least,
        "syncnet_offset_frames": float(np.argmin(distances) - lag),
    }


def mouth_crops(video: Video, faces: Faces) -> Iterator[Picture]:
    """The face's square (224, 224, 3) in BGR at 25 frames a second, after a JPEG of fixed quality."""
    boxes = _boxes(faces)
    due = 0
    for index, (second, pixels) in enumerate(video.frames()):
        while index < len(boxes) and due / FPS < second + 1 / video.fps - 1e-6:
            yield _recoded(_crop(pixels, boxes[index]))
            due += 1


def _boxes(faces: Faces) -> npt.NDArray[np.float64]:
    """(T, 3): centre x, y and half the size of the face's box, each the median of 13 frames as in the original."""
    low, high = faces.track.points[:, :SKIN, :2].min(axis=1), faces.track.points[:, :SKIN, :2].max(axis=1)
    rows = np.concatenate([(low + high) / 2, (high - low).max(axis=1, keepdims=True) / 2], axis=1)
    padded = np.pad(rows.astype(np.float64), ((6, 6), (0, 0)), mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 13, axis=0), axis=-1), np.float64)


def _crop(pixels: Picture, box: npt.NDArray[np.float64]) -> Picture:
    x, y, half = box
    side = 2 * half * (1 + MARGIN)
    scale = SIDE / side
    place = np.array([[scale, 0, (side / 2 - x) * scale], [0, scale, (half - y) * scale]])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    grey = (110, 110, 110)
    return np.asarray(cv2.warpAffine(pixels, place, (SIDE, SIDE), flags=how, borderValue=grey), np.uint8)


def _recoded(crop: Picture) -> Picture:
    coded = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def cepstrum(samples: Floats) -> Floats:
    """13 mel-frequency cepstral coefficients (T, 13) at 100 Hz of 16 kHz sound in 16-bit units.

    As SyncNet was trained on: emphasis 0.97, 25 ms rectangular windows, 512-point spectrum, 26 mel bands up to 8 kHz,
    lifter 22, the first coefficient replaced by the log energy.
    """
    length, step, size, bands, kept = 400, 160, 512, 26, 13
    sound = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1]).astype(np.float64)
    count = 1 + max(0, -(-(len(sound) - length) // step))
    sound = np.pad(sound, (0, max(0, (count - 1) * step + length - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, length)[::step][:count]
    power = np.abs(np.fft.rfft(frames, size)) ** 2 / size
    tiny = np.finfo(np.float64).eps
    mel = np.log(np.maximum(power @ _mel_bands(bands, size).T, tiny))
    rows, columns = np.arange(bands)[:, None], np.arange(kept)[None]
    basis = np.cos(np.pi * (2 * rows + 1) * columns / (2 * bands)) * np.sqrt(2 / bands)
    basis[:, 0] /= np.sqrt(2)
    result = mel @ basis * (1 + 11 * np.sin(np.pi * np.arange(kept) / 22))
    result[:, 0] = np.log(np.maximum(power.sum(axis=1), tiny))
    return np.asarray(result, np.float32)


def _mel_bands(bands: int, size: int) -> npt.NDArray[np.float64]:
    """Triangles (bands, size / 2 + 1) between whole bins of the spectrum, evenly spaced in mel."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.floor((size + 1) * edges / RATE)
    at = np.arange(size // 2 + 1)
    low, middle, high = bins[:-2, None], bins[1:-1, None], bins[2:, None]
    rising = (at - low) / np.maximum(middle - low, 1)
    falling = (high - at) / np.maximum(high - middle, 1)
    return np.where((at >= low) & (at < middle), rising, np.where((at >= middle) & (at < high), falling, 0.0))
