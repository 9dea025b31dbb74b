"""HEIC photos as phones write them: tiles, rotation, mirroring and a depth map, assembled box by box (ISO 23008-12)."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def encode_tile(pixels: Pixels, scratch: Path) -> tuple[bytes, bytes]:
    """The hvcC configuration and the HEVC data of one picture."""
    with av.open(str(scratch), "w", "mp4") as container:
        options = {
            "crf": "4",
            "x265-params": "log-level=none:range=full:colormatrix=bt470bg:pools=none:frame-threads=1",
        }
        stream = container.add_stream("libx265", rate=1, options=options)
        stream.width, stream.height, stream.pix_fmt = pixels.shape[1], pixels.shape[0], "yuv420p"
        stream.codec_context.color_range = 2
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=5, src_color_range=2, dst_color_range=2)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            packet.pts = packet.dts = 0  # of one frame, the encoder leaves them undefined
            container.mux(packet)
    with av.open(str(scratch)) as container:
        extradata = container.streams.video[0].codec_context.extradata
        return extradata, b"".join(bytes(packet) for packet in container.demux() if packet.size)


@dataclass
class Items:
    """The items of a file, with their properties and references."""

    data: list[tuple[bytes, bytes, tuple[int, ...]]] = field(default_factory=list)
    properties: list[bytes] = field(default_factory=list)
    references: list[bytes] = field(default_factory=list)

    def property(self, kind: bytes, *parts: bytes) -> int:
        self.properties.append(box(kind, *parts))
        return len(self.properties)

    def add(self, kind: bytes, data: bytes, *properties: int) -> int:
        self.data.append((kind, data, properties))
        return len(self.data)

    def add_picture(self, pixels: Pixels, scratch: Path, *properties: int) -> int:
        config, data = encode_tile(pixels, scratch)
        size = struct.pack(">III", 0, pixels.shape[1], pixels.shape[0])
        return self.add(b"hvc1", data, self.property(b"hvcC", config), self.property(b"ispe", size), *properties)

    def refer(self, kind: bytes, source: int, *targets: int) -> None:
        self.references.append(box(kind, struct.pack(f">HH{len(targets)}H", source, len(targets), *targets)))


def write_heic(
    path: Path, pixels: Pixels, tiles: int = 1, quarters: int = 0, mirror: bool = False, depth: bool = False
) -> Path:
    """A photo of `pixels` as stored, in `tiles` x `tiles` tiles, to be turned anticlockwise and mirrored."""
    items, scratch = Items(), path.with_suffix(".scratch")
    depth_map = items.add_picture(np.full((64, 64, 3), 90, np.uint8), scratch) if depth else 0
    turns = [items.property(b"irot", bytes([quarters]))] if quarters else []
    turns += [items.property(b"imir", b"\x01")] if mirror else []
    if tiles == 1:
        primary = items.add_picture(pixels, scratch, *turns)
    else:
        height, width = pixels.shape[0] // tiles, pixels.shape[1] // tiles
        parts = [
            items.add_picture(pixels[y : y + height, x : x + width], scratch)
            for y in range(0, tiles * height, height)
            for x in range(0, tiles * width, width)
        ]
        size = items.property(b"ispe", struct.pack(">III", 0, tiles * width, tiles * height))
        grid = struct.pack(">BBBBHH", 0, 0, tiles - 1, tiles - 1, tiles * width, tiles * height)
        primary = items.add(b"grid", grid, size, *turns)
        items.refer(b"dimg", primary, *parts)
    if depth:
        kind = items.property(b"auxC", struct.pack(">I", 0), b"urn:mpeg:hevc:2015:auxid:2\0")
        name, data, properties = items.data[depth_map - 1]
        items.data[depth_map - 1] = (name, data, (*properties, kind))
        items.refer(b"auxl", depth_map, primary)
    path.write_bytes(assemble(items, primary))
    return path


def assemble(items: Items, primary: int) -> bytes:
    """The whole file. Item data follow the metadata, whose length does not depend on the offsets in it."""
    brand = box(b"ftyp", b"heic", struct.pack(">I", 0), b"mif1heic")
    offsets = [0] * len(items.data)
    for _ in range(2):
        meta = metadata(items, primary, offsets)
        at = len(brand) + len(meta) + 8
        offsets = [at + sum(len(data) for _, data, _ in items.data[:number]) for number in range(len(items.data))]
    return brand + meta + box(b"mdat", *(data for _, data, _ in items.data))


def metadata(items: Items, primary: int, offsets: list[int]) -> bytes:
    count = len(items.data)
    entries = [
        full_box(b"infe", 2, 0, struct.pack(">HH4s", number, 0, kind), b"\0")
        for number, (kind, _, _) in enumerate(items.data, 1)
    ]
    links = b"".join(
        struct.pack(">HB", number, len(properties)) + bytes(0x80 | one for one in properties)
        for number, (_, _, properties) in enumerate(items.data, 1)
    )
    places = b"".join(
        struct.pack(">HHHII", number, 0, 1, offset, len(data))
        for number, ((_, data, _), offset) in enumerate(zip(items.data, offsets, strict=True), 1)
    )
    return full_box(
        b"meta",
        0,
        0,
        full_box(b"hdlr", 0, 0, struct.pack(">I4s12s", 0, b"pict", b""), b"\0"),
        full_box(b"pitm", 0, 0, struct.pack(">H", primary)),
        full_box(b"iinf", 0, 0, struct.pack(">H", count), *entries),
        full_box(b"iref", 0, 0, *items.references) if items.references else b"",
        box(b"iprp", box(b"ipco", *items.properties), full_box(b"ipma", 0, 0, struct.pack(">I", count), links)),
        full_box(b"iloc", 0, 0, struct.pack(">BBH", 0x44, 0, count), places),
    )
