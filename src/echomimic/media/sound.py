"""Sound in: any file that FFmpeg decodes, or samples in memory, as a stream of float blocks. Memory stays flat.

Mixing down is done here in numpy and not by the resampler, which makes two equal float channels 1.41 times too loud.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from echomimic.errors import SoundError
from echomimic.media.source import decoded_frames, is_picture, open_media
from echomimic.notes import note
from echomimic.types import Floats, Speech

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer

WANTED = "a sound (wav, mp3, m4a, flac, ogg, opus, webm) or a video with a sound track"
SHORTEST = 0.02
"""Seconds under which there is nothing to speak."""
SILENCE = 1e-3
"""Peak under which a sound counts as silent: -60 dB of full scale."""
_LOUDEST = 16.0
"""Peak over which float samples are not in -1..1 but integers in disguise."""
_GAP, _LONGEST_GAP = 0.05, 600.0
"""Seconds by which time stamps must jump to be a pause that was left out, and past which they are nonsense."""
_MOST_PLANES = 8
"""Channels in separate planes past which PyAV reads wild memory; damaged packets of AAC claim them."""
_BLOCK = 10.0


class Chunk(NamedTuple):
    """Decoded sound: `samples` (n, channels) float32 at `rate` Hz, and the `names` of its channels where known."""

    samples: Floats
    rate: int
    names: tuple[str, ...] = ()


def read_speech(path: str | Path) -> Speech:
    """The voice in a file, decoded once to learn its true length, and not kept.

    Raises SoundError for what is missing, has no sound, cannot be decoded, or holds samples that are no numbers.
    """
    path = Path(path)
    report = _Report()
    seconds = peak = mixed = 0.0
    first: Chunk | None = None
    for chunk in _decode(path, report):
        first = first or chunk
        seconds += len(chunk.samples) / chunk.rate
        peak = max(peak, _peak(chunk.samples, path.name))
        mixed = max(mixed, _peak(mix(chunk), path.name))
    if first is None or seconds < SHORTEST:
        raise SoundError(f"{path} has no sound in it ({seconds:.3f} s were decoded); expected {WANTED}")
    if peak > _LOUDEST:
        raise SoundError(f"{path} has samples up to {peak:.0f}; expected -1 to 1: export it as 16-bit wav")
    _tell(path, report, seconds, peak, mixed)
    return Speech(
        duration=seconds,
        rate=first.rate,
        channels=first.samples.shape[1],
        path=path,
        silent=mixed < SILENCE,
        name=path.stem,
    )


def speech_from_samples(samples: npt.ArrayLike, rate: int, name: str = "speech") -> Speech:
    """A voice in memory: `samples` (N,) or (N, channels) in -1..1 at `rate` Hz; SoundError where they are unusable."""
    array = np.asarray(samples, np.float32)
    if array.ndim not in (1, 2) or rate <= 0:
        raise SoundError(f"samples of shape {array.shape} at {rate} Hz; expected (N,) or (N, channels) at 1 Hz or more")
    columns = array.reshape(len(array), -1)
    if columns.shape[1] > 64:
        raise SoundError(f"samples with {columns.shape[1]} channels; expected (N, channels): transpose them")
    if len(array) < SHORTEST * rate:
        raise SoundError(f"{len(array)} samples at {rate} Hz; expected {SHORTEST} s or more of sound")
    silent = _peak(mix(Chunk(columns, rate)), name) < SILENCE
    if silent:
        note("sound_silent", "{name} is silent: the face will move idly, without speaking", name=name)
    return Speech(len(array) / rate, rate, columns.shape[1], samples=array, silent=silent, name=name)


def sound_blocks(speech: Speech, rate: int = 16000) -> Iterator[Floats]:
    """The voice as mono float32 (n,) in -1..1 at `rate` Hz, decoded as it is asked for in blocks of some 10 s."""
    gathered: list[Floats] = []
    for chunk in speech_chunks(speech, rate, 1):
        gathered.append(chunk[:, 0])
        if sum(map(len, gathered)) >= _BLOCK * rate:
            yield np.concatenate(gathered)
            gathered = []
    if gathered:
        yield np.concatenate(gathered)


def speech_chunks(speech: Speech, rate: int, channels: int) -> Iterator[Floats]:
    """The voice as float32 (n, channels) in -1..1 at `rate` Hz, about a second at a time."""
    chunks = _in_memory(speech) if speech.samples is not None else _decode(_path(speech), _Report())
    for chunk in _resampled((Chunk(fold(chunk, channels), chunk.rate) for chunk in chunks), rate):
        yield np.clip(chunk, -1.0, 1.0)


def mix(chunk: Chunk) -> Floats:
    """One channel (n, 1) from many: the average, with the centre counted as four and the bass channel not at all.

    Weights add up to one, so a voice that is on every channel keeps its loudness and nothing can clip.
    """
    samples = chunk.samples
    if samples.shape[1] == 1:
        return samples
    weights = np.ones(samples.shape[1], np.float32)
    if len(chunk.names) == len(weights) > 2:
        weights = np.array([{"FC": 4.0, "LFE": 0.0}.get(name, 1.0) for name in chunk.names], np.float32)
    mixed: Floats = samples @ (weights / weights.sum())[:, None]
    return mixed


def fold(chunk: Chunk, channels: int) -> Floats:
    """The sound on another number of channels: as it is where that fits, else mixed to one and repeated."""
    if chunk.samples.shape[1] == channels:
        return chunk.samples
    return np.repeat(mix(chunk), channels, axis=1)


def _path(speech: Speech) -> Path:
    if speech.path is None:
        raise SoundError(f"{speech.name} has neither a file nor samples; expected one of them: use read_speech")
    return speech.path


def _peak(samples: Floats, name: str) -> float:
    """The largest absolute sample; SoundError where there is one that is no number."""
    if not len(samples):
        return 0.0
    peak = max(-float(samples.min()), float(samples.max()))
    if not np.isfinite(peak):
        raise SoundError(
            f"{name} has samples that are no numbers (NaN or infinite); expected -1 to 1: export it as 16-bit wav"
        )
    return peak


@dataclass
class _Report:
    """What decoding met: packets that could not be decoded, seconds that the header promises."""

    damaged: int = 0
    promised: float = 0.0


def _tell(path: Path, report: _Report, seconds: float, peak: float, mixed: float) -> None:
    """Note what the user should know about a sound that can be used."""
    if report.promised - seconds > max(0.5, 0.02 * report.promised):
        note(
            "sound_cut_off",
            "{name} is cut off or damaged: its header promises {promised:.1f} s, {seconds:.1f} s could be read and are "
            "used",
            name=path.name,
            promised=report.promised,
            seconds=seconds,
        )
    elif report.damaged:
        note(
            "sound_damaged",
            "{name} is damaged in {places} places, which are left out; {seconds:.1f} s are used",
            name=path.name,
            places=report.damaged,
            seconds=seconds,
        )
    if mixed < SILENCE <= peak:
        note(
            "channels_cancel",
            "the channels of {name} cancel each other out, so nothing is heard of the voice: give a mono file",
            name=path.name,
        )
    elif mixed < SILENCE:
        note("sound_silent", "{name} is silent: the face will move idly, without speaking", name=path.name)


def _in_memory(speech: Speech) -> Iterator[Chunk]:
    """The samples of a voice in memory, in chunks, checked."""
    samples = np.asarray(speech.samples, np.float32)
    columns = samples.reshape(len(samples), -1)
    for start in range(0, len(columns), speech.rate):
        piece = columns[start : start + speech.rate]
        _peak(piece, speech.name)
        yield Chunk(piece, speech.rate)


def _decode(path: Path, report: _Report) -> Iterator[Chunk]:
    """The sound of a file in chunks of about a second, starting when the file starts to play."""
    with open_media(path, WANTED, SoundError) as container:
        if not container.streams.audio:
            what = "a picture" if is_picture(path) else "a video without sound" if container.streams else "damaged"
            raise SoundError(f"{path} is {what}; expected {WANTED}")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise SoundError(f"{path} has sound of a kind that is not known here; expected {WANTED}")
        report.promised = _promised(container, stream)
        yield from _gathered(_timed(_frames(container, stream, report), (container.start_time or 0) / 1e6))


def _promised(container: "InputContainer", stream: "AudioStream") -> float:
    """Seconds of sound that the header promises; 0 where it says nothing."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration and len(container.streams) == 1 else 0.0


def _frames(container: "InputContainer", stream: "AudioStream", report: _Report) -> "Iterator[AudioFrame]":
    """Decoded frames; what cannot be decoded is counted and left out."""

    def damaged() -> None:
        report.damaged += 1

    for frame in decoded_frames(container, stream, damaged):
        if frame.format.is_planar and frame.layout.nb_channels > _MOST_PLANES:
            damaged()
        elif frame.samples:
            yield frame


def _timed(frames: "Iterable[AudioFrame]", zero: float) -> Iterator[Chunk]:
    """Chunks where they belong in time: where time stamps jump ahead, silence is put in."""
    due = 0.0
    for frame in frames:
        chunk = _floats(frame)
        gap = (due if frame.time is None else frame.time - zero) - due
        if _GAP < gap < _LONGEST_GAP:
            yield from _silence(gap, chunk)
            due += gap
        yield chunk
        due += len(chunk.samples) / chunk.rate


def _floats(frame: "AudioFrame") -> Chunk:
    """A decoded frame of any sample format as float32 in -1..1."""
    array = frame.to_ndarray()
    columns = array.T if frame.format.is_planar else array.reshape(frame.samples, -1)
    if array.dtype == np.uint8:
        samples = (columns.astype(np.float32) - 128.0) / 128.0
    elif array.dtype.kind == "i":
        samples = columns.astype(np.float32) / np.float32(2.0 ** (8 * array.itemsize - 1))
    else:
        samples = columns.astype(np.float32)
    return Chunk(samples, frame.sample_rate, tuple(channel.name for channel in frame.layout.channels))


def _silence(seconds: float, like: Chunk) -> Iterator[Chunk]:
    """Silence of the same rate and channels as `like`, a second at a time."""
    left = round(seconds * like.rate)
    while left > 0:
        count = min(left, like.rate)
        yield like._replace(samples=np.zeros((count, like.samples.shape[1]), np.float32))
        left -= count


def _gathered(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Chunks joined to about a second each; never across a change of rate or channels."""
    held: list[Chunk] = []
    length = 0
    for chunk in chunks:
        if held and (length >= held[0].rate or chunk[1:] != held[0][1:]):
            yield held[0]._replace(samples=np.concatenate([c.samples for c in held]))
            held, length = [], 0
        held.append(chunk)
        length += len(chunk.samples)
    if held:
        yield held[0]._replace(samples=np.concatenate([c.samples for c in held]))


def _resampled(chunks: Iterable[Chunk], rate: int) -> Iterator[Floats]:
    """Samples (n, channels) at `rate` Hz. The rate of the chunks may change on the way, their channels may not."""
    from av import AudioFrame, AudioResampler

    resampler: AudioResampler | None = None
    now = rate
    for samples, own, _ in chunks:
        if resampler is not None and own != now:
            yield from map(_columns, resampler.resample(None))
            resampler = None
        now = own
        if own == rate:
            yield samples
            continue
        layout = f"{samples.shape[1]}c"
        resampler = resampler or AudioResampler(format="fltp", layout=layout, rate=rate)
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate = own
        yield from map(_columns, resampler.resample(frame))
    if resampler is not None:
        yield from map(_columns, resampler.resample(None))


def _columns(frame: "AudioFrame") -> Floats:
    columns: Floats = frame.to_ndarray().T.astype(np.float32, copy=False)
    return columns
