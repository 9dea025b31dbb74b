"""A clip that plays while it is made: encoded once, into fragments; copied into an ordinary mp4 at the end."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echomimic.media.encode import MP4, encode
from echomimic.media.output import writing
from echomimic.types import Picture, Speech

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer, OutputContainer

FRAGMENT = 0.2
"""Seconds in a fragment: what a player waits for besides the encoder's own delay."""

# delay_moov lets the first fragment say by how much sound and picture begin early; without it they part by 21 ms
FRAGMENTS = replace(
    MP4,
    options={
        "movflags": "+frag_keyframe+delay_moov+default_base_moof",
        "frag_duration": str(round(FRAGMENT * 1e6)),
        "flush_packets": "1",
    },
)


def write_live(
    live: Path, part: Path, frames: Iterator[Picture], fps: float, speech: Speech | None, tags: Mapping[str, str]
) -> int:
    """Encode `frames` into the fragmented mp4 `live`, which may be read as it grows, then copy it to `part`.

    `part` becomes an mp4 with its index in front and the same packets: nothing is encoded twice. `live` stays, and
    is cut off where this fails. Returns how many frames there were; raises OutputError.
    """
    with writing():
        file = live.open("wb", buffering=0)
    with file:
        count = encode(file, FRAGMENTS, frames, fps, speech, tags)
    copy_packets(live, part)
    return count


def copy_packets(source: Path, target: Path) -> None:
    """The same mp4 without fragments and with its index in front; nothing is decoded."""
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
