"""Read pictures: whatever Pillow, tifffile or FFmpeg opens, judged by content, as upright 8-bit sRGB pixels."""

import warnings
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from echomimic.errors import PictureError
from echomimic.media.source import check_file, open_image, open_media, video_stream
from echomimic.media.video import upright_pixels
from echomimic.notes import note
from echomimic.types import Portrait

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL import Image
    from tifffile import TiffPage

ACCEPTED = "a picture (png, jpg, webp, heic, avif, gif, tiff, bmp, …)"
MOST_PIXELS = 100_000_000
"""Pictures with more pixels are refused as decompression bombs."""
LONGEST_SIDE = 4096
"""Pictures with a longer side are reduced to it: it is the largest side of a video."""
SHORTEST_SIDE = 32
BACKDROP = 200
"""Grey level behind transparent pictures."""

_SMOOTH = frozenset({"RGB", "RGBA", "L", "CMYK"})
"""Modes whose values can be averaged."""
_ANIMATED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
_BOXED = frozenset({"HEIF", "AVIF"})
_ORIENTATION, _PROFILE = 0x0112, 34675
"""TIFF and EXIF tags."""
_FULL_SCALES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0, 2.0**31 - 1, 2.0**32 - 1)
"""Largest values of 8, 10, 12, 14, 16, 31 and 32 bits."""
_FLOAT_SCALES = ((4.0, 1.0), (300.0, 255.0), (70_000.0, 65_535.0))
"""Largest usual sample of float pictures, and the value that is white."""


def read_picture(path: str | Path) -> Portrait:
    """Read a picture: EXIF orientation applied, transparency laid over light grey and kept as `alpha`.

    Of an animated picture the first image is used, of a HEIC photo the primary one. Raises PictureError for files that
    are missing, too small, too large, cut off, or not a picture.
    """
    path = check_file(path, ACCEPTED, PictureError)
    pixels = _with_pillow(path)
    if pixels is None:
        pixels = _with_ffmpeg(path)
    alpha = np.ascontiguousarray(pixels[..., 3])
    if not alpha.any():
        raise PictureError(f"{path} is transparent all over; expected {ACCEPTED} with something to see")
    if alpha.all() and alpha.min() == 255:
        return Portrait(np.ascontiguousarray(pixels[..., :3]), name=path.stem)
    return Portrait(_over_backdrop(pixels), alpha, path.stem)


def read_frames(folder: Path) -> Iterator["npt.NDArray[np.uint8]"]:
    """The pictures (H, W, 3) of a folder of frames, in order."""
    return (read_picture(path).pixels for path in sorted(folder.glob("frame_*.png")))


def _over_backdrop(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """RGBA composited over the backdrop."""
    alpha = pixels[..., 3:].astype(np.float32) / 255.0
    return np.rint(pixels[..., :3] * alpha + BACKDROP * (1.0 - alpha)).astype(np.uint8)


def _with_pillow(path: Path) -> npt.NDArray[np.uint8] | None:
    """RGBA pixels as Pillow or tifffile reads them; None if they do not know the file."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of size and odd metadata: what matters is reported by this package
        try:
            image: Image.Image | None = open_image(path)
        except Image.DecompressionBombError:
            raise _too_large(path) from None
        tiff = image.format == "TIFF" if image else _is_tiff(path)
        image = (_deep_tiff(path) or image) if tiff else image
        if image is None:
            return None
        with image:
            _check_size(path, *image.size)
            if image.format == "EPS":
                raise PictureError(f"{path} is a PostScript drawing; expected {ACCEPTED}: export it as png")
            if image.format in _ANIMATED and getattr(image, "is_animated", False):
                note("picture_animated", "{name} is animated: its first image is used", name=path.name)
            _note_large(path, image.size)
            try:
                if image.format in _BOXED and _is_cut_off(path):
                    raise ValueError("its last box is not complete")
                return _upright(image)
            except Exception as fault:  # Pillow's decoders raise errors of any kind
                if tiff:  # FFmpeg reads some that Pillow does not
                    with suppress(PictureError):
                        return _with_ffmpeg(path)
                why = str(fault).split("\n")[0]
                raise PictureError(f"{path} is damaged or cut off ({why}); expected {ACCEPTED}: get it again") from None


def _upright(image: "Image.Image") -> npt.NDArray[np.uint8]:
    """RGBA pixels, oriented by EXIF, no larger than needed."""
    from PIL import Image

    image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))  # lets the JPEG decoder skip detail of huge pictures
    image.load()
    method = _orientations().get(_orientation(image))
    early = image.mode in _SMOOTH and "transparency" not in image.info  # a huge picture is then held once
    small: Image.Image = _smaller(_to_rgba(_smaller(image) if early else image))
    return np.asarray(small if method is None else small.transpose(method), np.uint8)


def _is_cut_off(path: Path) -> bool:
    """Whether a file of ISO boxes ends inside one; the HEIF decoder then leaves tiles out without an error."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as file:
        while place + 8 <= size:
            file.seek(place)
            length = int.from_bytes(file.read(4), "big")
            if length == 1:
                length = int.from_bytes(file.read(12)[4:], "big")
            if length < 8:  # 0: to the end of the file
                return False
            place += length
    return place > size


def _orientation(image: "Image.Image") -> int:
    """EXIF orientation, 1 to 8."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # of any kind, for damaged EXIF
        return 1


def _orientations() -> "dict[int, Image.Transpose]":
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise _too_large(path, f"{width}×{height} pixels")
    if min(width, height) < SHORTEST_SIDE:
        raise PictureError(
            f"{path} is {width}×{height} pixels; expected {SHORTEST_SIDE}×{SHORTEST_SIDE} or more: give a larger one"
        )


def _too_large(path: Path, what: str = "too many pixels") -> PictureError:
    limit = f"{MOST_PIXELS // 1_000_000} megapixels"
    return PictureError(f"{path} has {what}; expected at most {limit}: make it smaller")


def _note_large(path: Path, size: tuple[int, int]) -> None:
    if max(size) > LONGEST_SIDE:
        note(
            "picture_large",
            "{name} is large: it is scaled to a longer side of {limit} pixels, in which a face box is given",
            name=path.name,
            limit=LONGEST_SIDE,
        )


def _smaller(image: "Image.Image") -> "Image.Image":
    """The picture, reduced if a side is longer than the limit."""
    from PIL import Image

    longest = max(image.size)
    if longest <= LONGEST_SIDE:
        return image
    width, height = (max(1, round(side * LONGEST_SIDE / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _to_rgba(image: "Image.Image") -> "Image.Image":
    """Any mode of Pillow as RGBA in sRGB. Deep grey is scaled, because `convert` would clip it."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    rgba = _to_srgb(image).convert("RGBA")
    if alpha is not None:
        rgba.putalpha(alpha)
    return rgba


def _to_srgb(image: "Image.Image") -> "Image.Image":
    """The picture in sRGB, by its colour profile if it has a valid one; alpha may be lost."""
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "L", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        opaque = image.convert("RGB") if image.mode == "RGBA" else image
        return ImageCms.profileToProfile(opaque, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


def _to_8_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Samples of any depth as 8 bits, scaled by the smallest usual range that holds them.

    Cameras store 10 to 14 bits in 16, and programs store 8 bits in 32 or in floats. Signed integers with negative
    values start at the smallest value of their type. Floats up to 4 are light with highlights above 1.
    """
    if values.dtype.kind == "f":
        values = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        top = float(np.percentile(values, 99)) if values.size else 0.0
        full = next((scale for most, scale in _FLOAT_SCALES if top <= most), top)
    else:
        low = float(np.iinfo(values.dtype).min) if values.dtype.kind == "i" and values.min(initial=0) < 0 else 0.0
        values = values.astype(np.float32) - np.float32(low)
        top = float(values.max(initial=0.0))
        full = next((scale for scale in _FULL_SCALES if top <= scale), top)
    return np.clip(np.rint(values * (255.0 / full)), 0, 255).astype(np.uint8)


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _deep_tiff(path: Path) -> "Image.Image | None":
    """The first page of a TIFF that is not of 8 bits, as a picture of 8 bits; None for all that Pillow reads right.

    Pillow takes the upper 8 of 16 bits, which makes 12-bit pictures black, and knows few other depths.
    """
    from PIL import Image
    from tifffile import TiffFile

    try:
        with TiffFile(path) as file:
            page = file.pages.first
            if page.bitspersample in (1, 8) and page.sampleformat in (1, None):
                return None
            _check_size(path, page.imagewidth, page.imagelength)
            values = _deep_samples(path, page)
            made = Image.fromarray(_to_8_bits(values)) if values is not None else None
            if made is not None and _ORIENTATION in page.tags:
                made.getexif()[_ORIENTATION] = int(page.tags[_ORIENTATION].value)
            if made is not None and _PROFILE in page.tags:
                made.info["icc_profile"] = page.tags[_PROFILE].value
            return made
    except PictureError:
        raise
    except Exception:  # of any kind, for damaged files
        return None


def _deep_samples(path: Path, page: "TiffPage") -> npt.NDArray[Any] | None:
    """Samples (H, W) or (H, W, 2 to 4) of any type; None if neither tifffile nor FFmpeg decodes them."""
    try:
        values: npt.NDArray[Any] = page.asarray()
    except (KeyError, ValueError, NotImplementedError):  # a codec of the package imagecodecs
        values = _ffmpeg_samples(path)
    if values.ndim == 3 and values.shape[0] < min(values.shape[1:]) and values.shape[0] <= 5:
        values = np.moveaxis(values, 0, 2)  # one plane per colour
    if values.ndim == 3 and values.shape[2] not in (2, 3, 4):
        values = values[..., :3] if values.shape[2] > 4 else values[..., 0]
    if page.photometric == 0 and values.dtype.kind == "u":  # white is 0
        values = np.iinfo(values.dtype).max - values
    return values if values.ndim in (2, 3) else None


def _ffmpeg_samples(path: Path) -> npt.NDArray[Any]:
    with open_media(path, ACCEPTED, PictureError) as container:
        return _first_frames(container.decode(video=0))[0].to_ndarray()


def _with_ffmpeg(path: Path) -> npt.NDArray[np.uint8]:
    """RGBA pixels of a still picture that only FFmpeg reads (dpx, exr, …); raises PictureError if it is none."""
    from av.error import FFmpegError
    from PIL import Image

    with open_media(path, ACCEPTED, PictureError) as container:
        video = video_stream(container)
        if video is None or container.streams.audio:
            what = "a video" if video else "a sound"
            raise PictureError(f"{path} is {what}; expected {ACCEPTED}: save a frame of it as png")
        if video.codec_context.width:
            _check_size(path, video.codec_context.width, video.codec_context.height)
        frames = _first_frames(container.decode(video))
        if len(frames) > 1:
            raise PictureError(f"{path} is a video; expected {ACCEPTED}: save a frame of it as png")
        if not frames:
            raise PictureError(f"{path} is damaged or cut off; expected {ACCEPTED}: fetch it again")
        if video.codec_context.name == "tiff":  # full range by its standard, as in jpeg
            frames[0].color_range, frames[0].colorspace = 2, 5
        try:
            picture = Image.fromarray(upright_pixels(frames[0], "rgba"))
        except FFmpegError:
            raise PictureError(f"{path} cannot be turned into pixels; expected {ACCEPTED}: export it as png") from None
        _note_large(path, picture.size)
        return np.asarray(_smaller(picture), np.uint8)


def _first_frames(frames: "Iterator[VideoFrame]") -> "list[VideoFrame]":
    """The first two frames, or those that can be decoded."""
    from av.error import FFmpegError

    found: list[VideoFrame] = []
    with suppress(FFmpegError):
        for frame in frames:
            found.append(frame)
            if len(found) == 2:
                break
    return found
