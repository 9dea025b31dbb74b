"""Write clips: mp4, webm, gif or a folder of png pictures, encoded in one pass from frames and voice.

An mp4 may be written as fragments, which play while it grows, and is then copied into an ordinary mp4.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from echomimic.media.gif import write_gif
from echomimic.media.output import atomic_path, check_output, is_folder, no_frames, writing
from echomimic.media.pngs import stored_frames, write_pngs
from echomimic.media.segments import Segment, SegmentStore, StoredPacket, segment_start, stored_packets
from echomimic.media.sound import speech_chunks
from echomimic.notes import note
from echomimic.types import Floats, Picture, Speech

if TYPE_CHECKING:
    from av import AudioStream, Packet, VideoCodecContext, VideoFrame, VideoStream
    from av.container import InputContainer, OutputContainer
    from av.video.reformatter import VideoReformatter


@dataclass(frozen=True)
class OutputFormat:
    """A container and its two codecs. `sound_rates` are those of the sound codec, the preferred one first."""

    container: str
    picture: str
    picture_options: Mapping[str, str]
    sound: str
    sound_rates: tuple[int, ...]
    sound_bits: int
    options: Mapping[str, str] = field(default_factory=dict)


_AAC_RATES = (48000, 96000, 88200, 64000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)

MP4 = OutputFormat(
    "mp4",
    "libx264",
    # 2.0 ms of CPU per frame of 512² with colour conversion; plain veryfast 2.7, superfast 2.2 at three times the size
    # measured at 512²: segments of a second at crf 16.5 have 44.27 dB and 815 kB, one run at crf 18 44.40 dB and 795 kB
    {"preset": "veryfast", "subq": "1", "crf": "16.5"},
    "aac",
    _AAC_RATES,
    192_000,
    {"movflags": "+faststart"},
)
WEBM = OutputFormat(
    "webm",
    "libvpx-vp9",
    {"deadline": "realtime", "cpu-used": "7", "crf": "24", "b": "0", "row-mt": "1"},
    "libopus",
    (48000,),
    128_000,
)

_SMALL = 320
"""Pixels of the longer side up to which x264 takes more care: at that size every speck shows, and time does not."""
_SMALL_OPTIONS = {"preset": "faster", "subq": "4", "crf": "15.5"}

BT709 = 1
LIMITED = 1
"""Codes of ITU-T H.273: matrix, primaries and transfer curve of HD video; luma 16..235, as players expect."""

_NAMED_TAGS = frozenset({"title", "artist", "comment", "description", "copyright", "date", "genre", "synopsis"})
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}

_GLOBAL_HEADER = 1 << 22
"""FFmpeg's flag for encoders whose parameter sets are in the header of the file."""
_FORMATS = {".mp4": MP4, ".webm": WEBM}

FRAGMENT = 0.2
"""Seconds in a fragment: the delay of a player besides the encoder's."""

# delay_moov lets the first fragment state the encoder delays; without it sound and picture differ by 21 ms
FRAGMENTS = replace(
    MP4,
    options={
        "movflags": "+frag_keyframe+delay_moov+default_base_moof",
        "frag_duration": str(round(FRAGMENT * 1e6)),
        "flush_packets": "1",
    },
)


def write_clip(
    path: str | Path,
    frames: Iterable[Picture],
    fps: float,
    speech: Speech | None,
    tags: Mapping[str, str],
    live: str | Path | None = None,
    finish: Callable[[Path], None] | None = None,
    store: SegmentStore | None = None,
) -> int:
    """Encode `frames` (H, W, 3) as they come, with the voice, in the format of the suffix; return their number.

    `.mp4` and `.webm` contain the sound, cut or padded with silence to the length of the frames; `.gif` and a folder
    of png pictures (a name without a suffix) do not. `tags` are stored in the file: comment, title and description by
    name, others inside the comment. `live` is a second file in which a `.mp4` can be read as fragments while it grows;
    it is kept in any case. Segments that `store` holds are copied from there, and the others are kept in it; `frames`
    are those of the others. `finish` may change the whole file in place before it gets its name. A file at `path` is
    replaced at the end, and untouched if anything fails; `frames` is closed in any case. Raises OutputError.
    """
    flow = iter(frames)
    tags = {
        name: text.encode("utf-8", "replace").decode() for name, text in tags.items()
    }  # file names need not be UTF-8
    try:
        path = check_output(path)
        with atomic_path(path, store.token if store else None) as part:
            written = _write_part(path, part, flow, fps, speech, tags, None if live is None else Path(live), store)
            if finish is not None:
                finish(part)
            return written
    finally:
        close = getattr(flow, "close", None)
        if close is not None:
            close()


def _write_part(
    path: Path,
    part: Path,
    frames: Iterator[Picture],
    fps: float,
    speech: Speech | None,
    tags: Mapping[str, str],
    live: Path | None,
    store: SegmentStore | None,
) -> int:
    """Write `part` in the format that the name of `path` asks for."""
    suffix = path.suffix.lower()
    if live is not None and suffix == ".mp4":
        return write_live(live, part, frames, fps, speech, tags, store)
    if suffix in _FORMATS:
        return encode(str(part), _FORMATS[suffix], frames, fps, speech, tags, store)
    if speech is not None:
        kind = "a folder of pictures" if is_folder(path) else "gif"
        note("output_without_sound", "{name} has no sound: {kind} cannot hold it", name=path.name, kind=kind)
    if is_folder(path):
        return write_pngs(part, frames, fps, tags, store)
    return write_gif(part, stored_frames(frames, fps, store), exact_rate(fps), tags)


def encode(
    target: str | BinaryIO,
    output_format: OutputFormat,
    frames: Iterator[Picture],
    fps: float,
    speech: Speech | None,
    tags: Mapping[str, str],
    store: SegmentStore | None = None,
) -> int:
    """Encode all `frames` with the voice into `target`, a name or an open file; return the number of frames in it.

    Segments that `store` holds are copied; `frames` are those of the others.
    """
    open_writer = partial(ClipWriter, target, output_format, fps=fps, speech=speech, tags=tags)
    writer: ClipWriter | None = None
    try:
        for number in count():
            stored = store.load(number) if store else None
            if stored:
                writer = writer or open_writer(size=stored.size)
                writer.insert(stored)
                continue
            first = next(frames, None)
            if first is None:
                break
            height, width = first.shape[:2]
            writer = writer or open_writer(size=(height, width))
            length = segment_start(number + 1, fps) - segment_start(number, fps)
            made = writer.add_segment(chain((first,), islice(frames, length - 1)))
            if store:
                store.save(number, made)
        if writer is None:
            raise no_frames()
        writer.finish()
    finally:
        if writer:
            writer.close()
    return writer.count


def exact_rate(fps: float) -> Fraction:
    """`fps` as the intended fraction: 23.976 (or 23.98) and 29.97 are 24000/1001 and 30000/1001."""
    broadcast = Fraction(round(fps * 1.001) * 1000, 1001)
    near = abs(float(broadcast) - fps) < 2e-3 or fps == round(float(broadcast), 2)
    if near and abs(fps - round(fps)) > 1e-6:
        return broadcast
    return Fraction(fps).limit_denominator(1000)


def stored_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags under the names that mp4 knows; the others as lines of the comment, so that none is lost."""
    named = {name: text for name, text in tags.items() if name in _NAMED_TAGS}
    others = [f"{name}: {text}" for name, text in tags.items() if name not in _NAMED_TAGS]
    comment = "\n".join(filter(None, [named.get("comment"), *others]))
    return {**named, "comment": comment} if comment else named


class ClipWriter:
    """Writes segments interleaved with the sound.

    `target` is a name, or a file open for writing, which need not be seekable for fragments. `size` is (height,
    width); an odd side gets its last row or column twice, because the codecs need even ones.
    """

    def __init__(
        self,
        target: str | BinaryIO,
        output_format: OutputFormat,
        size: tuple[int, int],
        fps: float,
        speech: Speech | None,
        tags: Mapping[str, str],
    ) -> None:
        import av

        self.count = 0
        self._rate = exact_rate(fps)
        with writing():
            self._container = av.open(target, "w", format=output_format.container, options=dict(output_format.options))
        self._container.metadata.update(stored_tags(tags))
        self._picture = PictureTrack(self._container, output_format, size, self._rate)
        self._sound = SoundTrack(self._container, output_format, speech) if speech else None

    def add_segment(self, frames: Iterable[Picture]) -> Segment:
        """Encode (H, W, 3) RGB frames as a segment, and the sound up to the end of each; return the segment."""
        before, stored = self.count, list[StoredPacket]()
        encoder = self._picture.segment_encoder()
        for frame in frames:
            packets = encoder.encode(frame, self.count)
            stored += stored_packets(packets)
            self.count += 1
            self._mux(packets)
        packets = encoder.flush()
        stored += stored_packets(packets)
        self._mux(packets)
        return Segment(stored, self.count - before, self._picture.size)

    def insert(self, segment: Segment) -> None:
        """Write a segment that was encoded before."""
        self.count += segment.frames
        self._mux(segment.to_packets(1 / self._rate))

    def finish(self) -> None:
        """Write the last packets and the index; raises OutputError if the disk is full."""
        if self._sound:
            self._mux_sound(self._sound.flush())
        with writing():
            self._container.close()

    def close(self) -> None:
        """Close the file, finished or not."""
        from av.error import FFmpegError

        with suppress(FFmpegError, OSError):
            self._container.close()

    def _mux(self, packets: "Iterable[Packet[Any]]") -> None:
        """Write packets of the picture, and the sound up to the last frame."""
        for packet in packets:
            packet.stream = self._picture.stream
            with writing():
                self._container.mux(packet)
        if self._sound:
            self._mux_sound(self._sound.encode_until(self.count / self._rate))

    def _mux_sound(self, packets: "Iterable[Packet[Any]]") -> None:
        with writing():
            self._container.mux(list(packets))


class PictureTrack:
    """The picture stream of a clip. Its own encoder gives the header; each segment has an encoder like it."""

    def __init__(
        self, container: "OutputContainer", output_format: OutputFormat, size: tuple[int, int], rate: Fraction
    ) -> None:
        from av.video.reformatter import VideoReformatter

        self.size = size
        self._format, self._rate = output_format, rate
        self._options = picture_options(output_format, size)
        self._reformatter = VideoReformatter()  # kept: it holds the conversion tables
        self.stream = cast("VideoStream", container.add_stream(output_format.picture, rate=rate, options=self._options))
        self._configure(self.stream.codec_context)
        self.stream.codec_context.thread_count = 1

    def segment_encoder(self) -> "SegmentEncoder":
        """The encoder of the next segment."""
        from av import CodecContext

        context = cast("VideoCodecContext", CodecContext.create(self._format.picture, "w"))
        context.options, context.framerate, context.time_base = dict(self._options), self._rate, 1 / self._rate
        context.flags |= _GLOBAL_HEADER
        self._configure(context)
        return SegmentEncoder(context, self._reformatter, self.size)

    def _configure(self, context: "VideoCodecContext") -> None:
        height, width = self.size
        context.width, context.height = width + width % 2, height + height % 2
        context.pix_fmt = "yuv420p"
        context.gop_size = int(self._options.get("g", max(1, round(self._rate))))
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = LIMITED


def picture_options(output_format: OutputFormat, size: tuple[int, int]) -> dict[str, str]:
    """The options of the encoder for frames of a size."""
    options = dict(output_format.picture_options)
    if output_format.picture_options is MP4.picture_options and max(size) <= _SMALL:
        options |= _SMALL_OPTIONS
    # equal frames give equal bytes; without it x264's AVX-512 code differs from run to run
    if output_format.picture == "libx264":
        options.setdefault("x264-params", "cpu-independent=1")
    return options


class SegmentEncoder:
    """Encodes the frames of a segment, converted to BT.709 YUV, with a key frame each second."""

    def __init__(self, context: "VideoCodecContext", reformatter: "VideoReformatter", size: tuple[int, int]) -> None:
        self._context, self._reformatter, self._size = context, reformatter, size

    def encode(self, frame: Picture, index: int) -> "list[Packet[Any]]":
        """Packets that are ready once frame number `index` of the clip is in."""
        from av import VideoFrame

        if frame.shape != (*self._size, 3) or frame.dtype != np.uint8:
            raise ValueError(f"frame {index} is {frame.shape} {frame.dtype}; expected {(*self._size, 3)} uint8")
        height, width = self._size
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = self._reformatter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24"),
            format="yuv420p",
            dst_colorspace=BT709,
            dst_color_range=LIMITED,
        )
        picture.pts, picture.time_base = index, self._context.time_base
        return self._packets(picture)

    def flush(self) -> "list[Packet[Any]]":
        """The last packets."""
        return self._packets(None)

    def _packets(self, picture: "VideoFrame | None") -> "list[Packet[Any]]":
        with writing():
            packets = self._context.encode(picture)
        for packet in packets:
            packet.duration = 1  # else the last frame lasts no time and the clip ends early
        return list(packets)


class SoundTrack:
    """The voice of a clip at its own rate and channels if the codec supports them."""

    def __init__(self, container: "OutputContainer", output_format: OutputFormat, speech: Speech) -> None:
        self._rate = next(
            (rate for rate in sorted(output_format.sound_rates) if rate >= speech.rate), max(output_format.sound_rates)
        )
        channels = speech.channels if speech.channels in _LAYOUTS else 1
        self._layout = _LAYOUTS[channels]
        self._stream = cast("AudioStream", container.add_stream(output_format.sound, rate=self._rate))
        self._stream.codec_context.layout = self._layout
        most = 6 * self._rate * channels  # what an AAC frame can hold
        self._stream.codec_context.bit_rate = min(most, output_format.sound_bits * max(2, channels) // 2)
        self._chunks = speech_chunks(speech, self._rate, channels)
        self._held: Floats = np.zeros((0, channels), np.float32)
        self._done = 0

    def encode_until(self, seconds: Fraction) -> "list[Packet[Any]]":
        """Packets of the sound up to `seconds` from its start; silence after its end."""
        from av import AudioFrame

        wanted = round(seconds * self._rate) - self._done
        if wanted <= 0:
            return []
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(self._take(wanted).T), "fltp", self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
        self._done += wanted
        with writing():
            return list(self._stream.encode(frame))

    def flush(self) -> "list[Packet[Any]]":
        """The last packets."""
        with writing():
            return list(self._stream.encode(None))

    def _take(self, count: int) -> Floats:
        """The next `count` samples (count, channels)."""
        while len(self._held) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                chunk = np.zeros((count - len(self._held), self._held.shape[1]), np.float32)
            self._held = np.concatenate([self._held, chunk])
        taken, self._held = self._held[:count], self._held[count:]
        return taken


def write_live(
    live: Path,
    part: Path,
    frames: Iterator[Picture],
    fps: float,
    speech: Speech | None,
    tags: Mapping[str, str],
    store: SegmentStore | None = None,
) -> int:
    """Encode `frames` into the fragmented mp4 `live`, which can be read as it grows, then copy it to `part`.

    `part` becomes an mp4 with its index in front and the same packets: nothing is encoded twice. `live` is kept, and
    cut off if this fails. Returns the number of frames; raises OutputError.
    """
    with writing():
        file = live.open("wb", buffering=0)
    with file:
        number = encode(file, FRAGMENTS, frames, fps, speech, tags, store)
    copy_packets(live, part)
    return number


def copy_packets(source: Path, target: Path) -> None:
    """Copy an mp4 without fragments and with its index in front; nothing is decoded."""
    import av

    with writing(), av.open(str(source)) as given, av.open(str(target), "w", "mp4", dict(MP4.options)) as made:
        made.metadata.update(given.metadata)
        for packet in _renumbered(given, made):
            made.mux(packet)


def _renumbered(given: "InputContainer", made: "OutputContainer") -> "Iterator[Packet[Any]]":
    """The packets of `given`, each for its stream in `made`."""
    streams = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
    for packet in given.demux():
        if packet.dts is not None:  # the empty one at the end of each stream
            packet.stream = streams[packet.stream.index]
            yield packet
