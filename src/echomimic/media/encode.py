"""One pass from frames and voice to a container: each is encoded as it comes, and nothing is kept."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from echomimic.media.output import no_frames, writing
from echomimic.media.sound import speech_chunks
from echomimic.types import Floats, Picture, Speech

if TYPE_CHECKING:
    from av import AudioStream, Packet, VideoFrame, VideoStream
    from av.container import OutputContainer


@dataclass(frozen=True)
class Recipe:
    """A container and its two codecs. `sound_rates` are what the sound codec takes, the preferred one first."""

    container: str
    picture: str
    picture_options: Mapping[str, str]
    sound: str
    sound_rates: tuple[int, ...]
    sound_bits: int
    options: Mapping[str, str] = field(default_factory=dict)


_AAC_RATES = (48000, 96000, 88200, 64000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)

MP4 = Recipe(
    "mp4",
    "libx264",
    # of CPU a frame of 512², colour conversion included: 2.0 ms; plain veryfast 2.7, superfast 2.2 at thrice the size
    {"preset": "veryfast", "subq": "1", "crf": "18"},
    "aac",
    _AAC_RATES,
    192_000,
    {"movflags": "+faststart"},
)
WEBM = Recipe(
    "webm",
    "libvpx-vp9",
    {"deadline": "realtime", "cpu-used": "7", "crf": "24", "b": "0", "row-mt": "1"},
    "libopus",
    (48000,),
    128_000,
)

BT709 = 1
LIMITED = 1
"""Numbers of ITU-T H.273: the matrix, primaries and curve of HD video; luma 16..235, as players expect."""

_NAMED_TAGS = frozenset({"title", "artist", "comment", "description", "copyright", "date", "genre", "synopsis"})
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def encode(
    target: str | BinaryIO,
    recipe: Recipe,
    frames: Iterator[Picture],
    fps: float,
    speech: Speech | None,
    tags: Mapping[str, str],
) -> int:
    """Encode all `frames` with the voice into `target`, a name or an open file; how many there were."""
    first = next(frames, None)
    if first is None:
        raise no_frames()
    writer = ClipWriter(target, recipe, (first.shape[0], first.shape[1]), fps, speech, tags)
    try:
        for frame in chain((first,), frames):
            writer.add(frame)
        writer.finish()
    finally:
        writer.close()
    return writer.count


def exact_rate(fps: float) -> Fraction:
    """`fps` as the fraction that is meant: 23.976 and 29.97 are 24000/1001 and 30000/1001."""
    broadcast = Fraction(round(fps * 1.001) * 1000, 1001)
    if abs(float(broadcast) - fps) < 2e-3 and abs(fps - round(fps)) > 1e-6:
        return broadcast
    return Fraction(fps).limit_denominator(1000)


def stored_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags under names that mp4 has a place for; the others as lines of the comment, so that none is lost."""
    named = {name: text for name, text in tags.items() if name in _NAMED_TAGS}
    others = [f"{name}: {text}" for name, text in tags.items() if name not in _NAMED_TAGS]
    comment = "\n".join(filter(None, [named.get("comment"), *others]))
    return {**named, "comment": comment} if comment else named


class ClipWriter:
    """Writes frames and their share of the sound side by side.

    `target` is a name, or a file open for writing, which need not seek if the recipe asks for fragments. `size` is
    (height, width); an odd side gets its last row or column twice, for the codecs need even ones.
    """

    def __init__(
        self,
        target: str | BinaryIO,
        recipe: Recipe,
        size: tuple[int, int],
        fps: float,
        speech: Speech | None,
        tags: Mapping[str, str],
    ) -> None:
        import av

        self.count = 0
        self._rate = exact_rate(fps)
        with writing():
            self._container = av.open(target, "w", format=recipe.container, options=dict(recipe.options))
        self._container.metadata.update(stored_tags(tags))
        self._picture = PictureTrack(self._container, recipe, size, self._rate)
        self._sound = SoundTrack(self._container, recipe, speech) if speech else None

    def add(self, frame: Picture) -> None:
        """Encode one (H, W, 3) RGB frame, and the sound that is heard up to its end."""
        self._mux(self._picture.encode(frame, self.count))
        self.count += 1
        if self._sound:
            self._mux(self._sound.encode_until(self.count / self._rate))

    def finish(self) -> None:
        """Write what the codecs still hold, and the index; OutputError where the disk is full."""
        self._mux(self._picture.flush())
        if self._sound:
            self._mux(self._sound.flush())
        with writing():
            self._container.close()

    def close(self) -> None:
        """Let go of the file, finished or not."""
        from av.error import FFmpegError

        with suppress(FFmpegError, OSError):
            self._container.close()

    def _mux(self, packets: "Iterable[Packet[Any]]") -> None:
        for packet in packets:
            with writing():
                self._container.mux(packet)


class PictureTrack:
    """The frames of a clip: converted to BT.709 YUV and compressed, with a key frame each second."""

    def __init__(self, container: "OutputContainer", recipe: Recipe, size: tuple[int, int], rate: Fraction) -> None:
        from av.video.reformatter import VideoReformatter

        self._size = size
        self._reformatter = VideoReformatter()  # kept: it holds the conversion tables
        stream = container.add_stream(recipe.picture, rate=rate, options=dict(recipe.picture_options))
        self._stream = cast("VideoStream", stream)
        context = self._stream.codec_context
        context.width, context.height = size[1] + size[1] % 2, size[0] + size[0] % 2
        context.pix_fmt = "yuv420p"
        context.gop_size = max(1, round(rate))
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = LIMITED

    def encode(self, frame: Picture, index: int) -> "list[Packet[Any]]":
        """Packets that are ready once frame number `index` is in."""
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
        picture.pts = index
        return self._packets(picture)

    def flush(self) -> "list[Packet[Any]]":
        """The last packets."""
        return self._packets(None)

    def _packets(self, picture: "VideoFrame | None") -> "list[Packet[Any]]":
        with writing():
            packets = self._stream.encode(picture)
        for packet in packets:
            packet.duration = 1  # else the last frame lasts no time and the clip ends early
        return list(packets)


class SoundTrack:
    """The voice of a clip at its own rate and channels, as far as the codec has them."""

    def __init__(self, container: "OutputContainer", recipe: Recipe, speech: Speech) -> None:
        self._rate = next((rate for rate in sorted(recipe.sound_rates) if rate >= speech.rate), max(recipe.sound_rates))
        channels = speech.channels if speech.channels in _LAYOUTS else 1
        self._layout = _LAYOUTS[channels]
        self._stream = cast("AudioStream", container.add_stream(recipe.sound, rate=self._rate))
        self._stream.codec_context.layout = self._layout
        most = 6 * self._rate * channels  # what an AAC frame can hold
        self._stream.codec_context.bit_rate = min(most, recipe.sound_bits * max(2, channels) // 2)
        self._chunks = speech_chunks(speech, self._rate, channels)
        self._held: Floats = np.zeros((0, channels), np.float32)
        self._done = 0

    def encode_until(self, seconds: Fraction) -> "list[Packet[Any]]":
        """Packets of the sound up to `seconds` from its start; silence where it has ended."""
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
