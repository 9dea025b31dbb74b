"""Read sound: any file that FFmpeg decodes, or samples in memory, as a stream of float blocks in constant memory.

Channels are mixed in numpy and not by the resampler, which makes two equal float channels 1.41 times too loud.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from echomimic.cancellation import check_cancelled
from echomimic.errors import SoundError
from echomimic.media.source import check_file, decoded_frames, is_picture, open_media, sound_streams, start_time
from echomimic.notes import note
from echomimic.types import Floats, Speech

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer

ACCEPTED = "a sound (wav, mp3, m4a, flac, ogg, opus, webm) or a video with a sound track"
SHORTEST = 0.02
"""Seconds below which a sound is refused."""
SILENCE = 1e-3
"""Peak under which a sound counts as silent: -60 dB of full scale."""
_LOUDEST = 16.0
"""Peak above which float samples are not in -1..1 but unscaled integers."""
_GAP, _LONGEST_GAP = 0.05, 600.0
"""A jump of the time stamps by more than the first, in seconds, is a pause; more than the second is an error."""
_MOST_PLANES = 8
"""Planar channels above which PyAV reads invalid memory; damaged AAC packets claim them."""
_BLOCK = 10.0
_ESTIMATED = frozenset({"mp3", "aac", "ac3", "eac3", "amr", "dts"})
"""Formats without a header for the whole file, whose duration FFmpeg guesses from the bit rate."""


class Chunk(NamedTuple):
    """Decoded sound: `samples` (n, channels) float32 at `rate` Hz, and the `names` of its channels if known."""

    samples: Floats
    rate: int
    names: tuple[str, ...] = ()


@dataclass
class _Scan:
    """Facts about a whole sound track, found by decoding it; `promised` is its duration in seconds by the header."""

    track: int
    promised: float = 0.0
    damaged: int = 0
    seconds: float = 0.0
    peak: float = 0.0
    mixed: float = 0.0
    first: Chunk | None = None

    @property
    def empty(self) -> bool:
        return self.first is None or self.seconds < SHORTEST


def read_speech(path: str | Path) -> Speech:
    """Describe the voice in a file. It is decoded once to measure its true length, and not kept.

    Of several sound tracks the one marked as default is used, unless it is silent and another is not. Raises
    SoundError for files that are missing, have no sound, cannot be decoded, or hold NaN or infinite samples.
    """
    path = check_file(path, ACCEPTED, SoundError)
    scan, tracks = _audible_track(path)
    if scan.first is None or scan.empty:
        raise SoundError(f"{path} has no sound in it ({scan.seconds:.3f} s were decoded); expected {ACCEPTED}")
    if scan.peak > _LOUDEST:
        raise SoundError(f"{path} has samples up to {scan.peak:.0f}; expected -1 to 1: export it as 16-bit wav")
    if tracks > 1:
        note(
            "sound_track_chosen",
            "{name} has {count} sound tracks: number {number} is used",
            name=path.name,
            count=tracks,
            number=scan.track + 1,
        )
    _note_faults(path, scan)
    return Speech(
        duration=scan.seconds,
        rate=scan.first.rate,
        channels=scan.first.samples.shape[1],
        path=path,
        silent=scan.mixed < SILENCE,
        name=path.stem,
        track=scan.track,
    )


def _audible_track(path: Path) -> tuple[_Scan, int]:
    """The first sound track that is audible, in the order of preference, or else the first; and how many there are."""
    with open_media(path, ACCEPTED, SoundError) as container:
        if not container.streams.audio:
            what = "a picture" if is_picture(path) else "a video without sound" if container.streams else "damaged"
            raise SoundError(f"{path} is {what}; expected {ACCEPTED}")
        known = [stream for stream in sound_streams(container) if stream.codec_context is not None]
        if not known:
            raise SoundError(f"{path} has sound of an unknown kind; expected {ACCEPTED}")
        tracks = [list(container.streams.audio).index(stream) for stream in known]
    scans = []
    for track in tracks:
        scans.append(_scan(path, track))
        if not scans[-1].empty and scans[-1].mixed >= SILENCE:
            return scans[-1], len(tracks)
    return next((scan for scan in scans if not scan.empty), scans[0]), len(tracks)


def _scan(path: Path, track: int) -> _Scan:
    """Decode a sound track to the end."""
    scan = _Scan(track)
    for chunk in _decode(path, scan):
        check_cancelled()
        scan.first = scan.first or chunk
        scan.seconds += len(chunk.samples) / chunk.rate
        scan.peak = max(scan.peak, _peak(chunk.samples, path.name))
        scan.mixed = max(scan.mixed, _peak(mix(chunk), path.name))
    return scan


def speech_from_samples(samples: npt.ArrayLike, rate: int, name: str = "speech") -> Speech:
    """A voice in memory: `samples` (N,) or (N, channels) in -1..1 at `rate` Hz; raises SoundError if unusable."""
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
    """Yield the voice as mono float32 (n,) in -1..1 at `rate` Hz, decoded on demand in blocks of about 10 s."""
    gathered: list[Floats] = []
    for chunk in speech_chunks(speech, rate, 1):
        gathered.append(chunk[:, 0])
        if sum(map(len, gathered)) >= _BLOCK * rate:
            yield np.concatenate(gathered)
            gathered = []
    if gathered:
        yield np.concatenate(gathered)


def speech_chunks(speech: Speech, rate: int, channels: int) -> Iterator[Floats]:
    """Yield the voice as float32 (n, channels) in -1..1 at `rate` Hz, about a second at a time."""
    if speech.samples is not None:
        chunks = _in_memory(speech)
    elif speech.path is not None:
        chunks = _decode(speech.path, _Scan(speech.track))
    else:
        raise SoundError(f"{speech.name} has neither a file nor samples; expected one of them: use read_speech")
    for chunk in _resampled((Chunk(fold(chunk, channels), chunk.rate) for chunk in chunks), rate):
        check_cancelled()
        yield np.clip(chunk, -1.0, 1.0)


def mix(chunk: Chunk) -> Floats:
    """Mix all channels to one (n, 1): the average, with weight 4 for the centre and 0 for the bass channel.

    Weights add up to one, so a voice on every channel keeps its loudness and nothing can clip.
    """
    samples = chunk.samples
    if samples.shape[1] == 1:
        return samples
    weights = np.ones(samples.shape[1], np.float32)
    if len(chunk.names) == len(weights) > 2:
        weights = np.array([{"FC": 4.0, "LFE": 0.0}.get(name, 1.0) for name in chunk.names], np.float32)
    return samples @ (weights / weights.sum())[:, None]


def fold(chunk: Chunk, channels: int) -> Floats:
    """Change the number of channels: unchanged if it fits, else mixed to one and repeated."""
    if chunk.samples.shape[1] == channels:
        return chunk.samples
    return np.repeat(mix(chunk), channels, axis=1)


def _peak(samples: Floats, name: str) -> float:
    """The largest absolute sample; raises SoundError for NaN and infinity."""
    if not len(samples):
        return 0.0
    peak = max(-float(samples.min()), float(samples.max()))
    if not np.isfinite(peak):
        raise SoundError(
            f"{name} has samples that are not numbers (NaN or infinite); expected -1 to 1: export it as 16-bit wav"
        )
    return peak


def _note_faults(path: Path, scan: _Scan) -> None:
    """Note faults of a sound that can still be used."""
    if scan.promised - scan.seconds > max(0.5, 0.02 * scan.promised):
        note(
            "sound_cut_off",
            "{name} is cut off or damaged: its header promises {promised:.1f} s, {seconds:.1f} s could be read and are "
            "used",
            name=path.name,
            promised=scan.promised,
            seconds=scan.seconds,
        )
    elif scan.damaged:
        note(
            "sound_damaged",
            "{name} is damaged in {places} places, which are left out; {seconds:.1f} s are used",
            name=path.name,
            places=scan.damaged,
            seconds=scan.seconds,
        )
    if scan.mixed < SILENCE <= scan.peak:
        note(
            "channels_cancel",
            "the channels of {name} cancel each other out, so the voice is lost: give a mono file",
            name=path.name,
        )
    elif scan.mixed < SILENCE:
        note("sound_silent", "{name} is silent: the face will move idly, without speaking", name=path.name)


def _in_memory(speech: Speech) -> Iterator[Chunk]:
    """The samples of a voice in memory, checked, in chunks."""
    samples = np.asarray(speech.samples, np.float32)
    columns = samples.reshape(len(samples), -1)
    for start in range(0, len(columns), speech.rate):
        piece = columns[start : start + speech.rate]
        _peak(piece, speech.name)
        yield Chunk(piece, speech.rate)


def _decode(path: Path, scan: _Scan) -> Iterator[Chunk]:
    """The samples of a sound track in chunks of about a second, from the moment at which the file starts to play."""
    with open_media(path, ACCEPTED, SoundError) as container:
        if scan.track >= len(container.streams.audio):
            raise SoundError(f"{path} has lost its sound since it was checked; expected {ACCEPTED}")
        stream = container.streams.audio[scan.track]
        scan.promised = _promised(path, container, stream)
        yield from _join_chunks(_fill_pauses(_frames(container, stream, scan), float(start_time(container))))


def _promised(path: Path, container: "InputContainer", stream: "AudioStream") -> float:
    """Seconds of sound by the header; 0 if it does not state them."""
    if container.format.name in _ESTIMATED:
        frames = _mp3_frames(path) if container.format.name == "mp3" else 0
        return frames * (1152 if stream.rate >= 32_000 else 576) / stream.rate
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration and len(container.streams) == 1 else 0.0


def _mp3_frames(path: Path) -> int:
    """Number of frames that the Xing, Info or VBRI header of an mp3 states; 0 if there is none."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":
            size = head[6:10]
            file.seek(10 + sum(byte << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True)))
        else:
            file.seek(0)
        frame = file.read(4096)
    for mark, offset in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        place = frame.find(mark)
        states_it = mark == b"VBRI" or frame[place + 7 : place + 8] > b"\0"
        if place >= 0 and states_it:
            return int.from_bytes(frame[place + offset : place + offset + 4], "big")
    return 0


def _frames(container: "InputContainer", stream: "AudioStream", scan: _Scan) -> "Iterator[AudioFrame]":
    """Decoded frames; undecodable packets are counted and left out."""

    def damaged() -> None:
        scan.damaged += 1

    for frame in decoded_frames(container, stream, damaged):
        if frame.format.is_planar and frame.layout.nb_channels > _MOST_PLANES:
            damaged()
        elif frame.samples:
            yield frame


def _fill_pauses(frames: "Iterable[AudioFrame]", zero: float) -> Iterator[Chunk]:
    """Chunks at their times: silence fills jumps of the time stamps, and what lies before the start is cut off."""
    due = 0.0
    for frame in frames:
        chunk = _floats(frame)
        gap = (due if frame.time is None else frame.time - zero) - due
        if due == 0.0 and gap < -_GAP:
            chunk = chunk._replace(samples=chunk.samples[round(-gap * chunk.rate) :])
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
    """Silence with the rate and channels of `like`, a second at a time."""
    left = round(seconds * like.rate)
    while left > 0:
        count = min(left, like.rate)
        yield like._replace(samples=np.zeros((count, like.samples.shape[1]), np.float32))
        left -= count


def _join_chunks(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Join chunks to about a second each, but not across a change of rate or channels."""
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
    """Samples (n, channels) at `rate` Hz. The rate of the chunks may change, their channels may not."""
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
    return frame.to_ndarray().T.astype(np.float32, copy=False)


class Resampler:
    """Resamples mono sound (n,) in -1..1 from one rate to another, piece by piece."""

    def __init__(self, rate: int, wanted: int) -> None:
        from av import AudioResampler

        self._rate, self._wanted = rate, wanted
        self._resampler = AudioResampler(format="flt", layout="mono", rate=wanted)

    def __call__(self, samples: Floats) -> Floats:
        """The samples that are ready after this piece."""
        if self._rate == self._wanted:
            return samples
        from av import AudioFrame

        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), format="flt", layout="mono")
        frame.sample_rate = self._rate
        pieces = [part.to_ndarray()[0] for part in self._resampler.resample(frame)]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
