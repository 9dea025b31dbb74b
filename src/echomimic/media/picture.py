"""Pictures in: whatever Pillow or FFmpeg opens, judged by content, as upright 8-bit sRGB pixels."""

import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from echomimic.errors import PictureError
from echomimic.media.source import check_file, open_media
from echomimic.media.video import upright_pixels
from echomimic.notes import note
from echomimic.types import Portrait

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL import Image, ImageFile

WANTED = "a picture (png, jpg, webp, gif, tiff, bmp, …)"
MOST_PIXELS = 100_000_000
"""Pictures with more are taken for decompression bombs."""
LONGEST_SIDE = 4096
"""Pictures with a longer side are made smaller: the largest video that can be asked for has this side."""
SHORTEST_SIDE = 32
BACKDROP = 200
"""Grey level that is put behind transparent pictures."""

_SMOOTH = frozenset({"RGB", "RGBA", "L", "CMYK"})
"""Modes whose values can be averaged."""
_ANIMATED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
_TILED = frozenset({"heic", "heix", "heim", "heis", "mif1", "avif"})
"""Brands of still pictures whose streams are tiles, of which FFmpeg would give only the first."""


def read_picture(path: str | Path) -> Portrait:
    """The picture in a file: EXIF orientation applied, transparency laid over light grey and kept as `alpha`.

    Of an animated picture the first image is taken. Raises PictureError for what is missing, too small, too large,
    cut off, or no picture.
    """
    path = check_file(path, WANTED, PictureError)
    pixels = _with_pillow(path)
    if pixels is None:
        pixels = _with_ffmpeg(path)
    alpha = np.ascontiguousarray(pixels[..., 3])
    if not alpha.any():
        raise PictureError(f"{path} is transparent all over; expected {WANTED} with something to see")
    if alpha.all() and alpha.min() == 255:
        return Portrait(np.ascontiguousarray(pixels[..., :3]), name=path.stem)
    return Portrait(_over_backdrop(pixels), alpha, path.stem)


def _over_backdrop(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """RGBA laid over the backdrop."""
    share = pixels[..., 3:].astype(np.float32) / 255.0
    laid: npt.NDArray[np.uint8] = np.rint(pixels[..., :3] * share + BACKDROP * (1.0 - share)).astype(np.uint8)
    return laid


def _with_pillow(path: Path) -> npt.NDArray[np.uint8] | None:
    """RGBA pixels as Pillow reads them; None where it takes the file for no picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of size and of odd metadata: what matters is said in our words
        image = _opened(path)
        if image is None:
            return None
        with image:
            _check_size(path, *image.size)
            if image.format == "EPS":
                raise PictureError(f"{path} is a PostScript drawing; expected {WANTED}: export it as png")
            if image.format in _ANIMATED and getattr(image, "is_animated", False):
                note("first_image_used", "{name} is animated: its first image is used", name=path.name)
            _note_large(path, image.size)
            try:
                return _upright(image)
            except Exception as fault:  # Pillow's decoders raise whatever they like
                why = str(fault).split("\n")[0]
                raise PictureError(f"{path} is damaged or cut off ({why}); expected {WANTED}: fetch it again") from None


def _opened(path: Path) -> "ImageFile.ImageFile | None":
    """The picture, its pixels not decoded yet; None where Pillow takes it for none."""
    from PIL import Image

    try:
        return Image.open(path)
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except Exception:  # of any kind: a damaged header may lead a decoder anywhere
        return None


def _upright(image: "ImageFile.ImageFile") -> npt.NDArray[np.uint8]:
    """RGBA pixels, turned as EXIF says, no larger than needed."""
    from PIL import ImageOps

    image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))  # lets the JPEG decoder skip detail of huge pictures
    image.load()
    early = image.mode in _SMOOTH and "transparency" not in image.info  # a huge picture is then held once
    small = _smaller(_to_rgba(_smaller(image) if early else image))
    return np.asarray(ImageOps.exif_transpose(small), np.uint8)


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise _too_large(path, f"{width}×{height} pixels")
    if min(width, height) < SHORTEST_SIDE:
        raise PictureError(
            f"{path} is {width}×{height} pixels; expected {SHORTEST_SIDE}×{SHORTEST_SIDE} or more: give a larger one"
        )


def _too_large(path: Path, what: str = "more pixels than can be safe") -> PictureError:
    limit = f"{MOST_PIXELS // 1_000_000} megapixels"
    return PictureError(f"{path} has {what}; expected at most {limit}: make it smaller")


def _note_large(path: Path, size: tuple[int, int]) -> None:
    if max(size) > LONGEST_SIDE:
        note(
            "picture_reduced",
            "{name} is large: it is used with its longer side at {side} pixels; a face box counts these",
            name=path.name,
            side=LONGEST_SIDE,
        )


def _smaller(image: "Image.Image") -> "Image.Image":
    """The picture, made smaller where a side is past the longest."""
    from PIL import Image

    longest = max(image.size)
    if longest <= LONGEST_SIDE:
        return image
    width, height = (max(1, round(side * LONGEST_SIDE / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _to_rgba(image: "Image.Image") -> "Image.Image":
    """Any mode of Pillow as RGBA in sRGB, EXIF kept. Deep grey is scaled: `convert` alone would clip it."""
    exif = image.getexif()
    if image.mode.startswith("I") or image.mode == "F":
        image = _grey_from_deep(image)
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    rgba = _to_srgb(image).convert("RGBA")
    if alpha is not None:
        rgba.putalpha(alpha)
    if exif:
        rgba.info["exif"] = exif.tobytes()
    return rgba


def _to_srgb(image: "Image.Image") -> "Image.Image":
    """The picture in sRGB, by its colour profile where it has one that works; alpha may be lost."""
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


def _grey_from_deep(image: "Image.Image") -> "Image.Image":
    """16 or 32 bit or float grey as 8 bit, by the range that its values show it uses."""
    from PIL import Image

    values = np.nan_to_num(np.asarray(image).astype(np.float32))
    top = float(values.max(initial=0.0))
    if image.mode == "F":
        full = next((limit for limit in (1.0, 255.0, 65535.0) if top <= limit), top)
    else:
        full = 65535.0 if top <= 65535.0 else float(2**31 - 1)
    return Image.fromarray(np.clip(np.rint(values * (255.0 / full)), 0, 255).astype(np.uint8))


def _with_ffmpeg(path: Path) -> npt.NDArray[np.uint8]:
    """RGBA pixels of a still picture that only FFmpeg knows (dpx, heic, …); PictureError where it is none."""
    from av.error import FFmpegError
    from PIL import Image

    with open_media(path, WANTED, PictureError) as container:
        video = next((s for s in container.streams.video if s.codec_context is not None), None)
        if video is None or container.streams.audio:
            what = "a video" if video else "a sound"
            raise PictureError(f"{path} is {what}; expected {WANTED}: save a frame of it as png")
        if len(container.streams.video) > 1 and container.metadata.get("major_brand") in _TILED:
            raise PictureError(f"{path} is an HEIC photo in tiles; expected {WANTED}: export it as jpg or png")
        if video.codec_context.width:
            _check_size(path, video.codec_context.width, video.codec_context.height)
        frames = _first_frames(container.decode(video))
        if len(frames) > 1:
            raise PictureError(f"{path} is a video; expected {WANTED}: save a frame of it as png")
        if not frames:
            raise PictureError(f"{path} is damaged or cut off; expected {WANTED}: fetch it again")
        try:
            picture = Image.fromarray(upright_pixels(frames[0], "rgba"))
        except FFmpegError:
            raise PictureError(f"{path} cannot be turned into pixels; expected {WANTED}: export it as png") from None
        _note_large(path, picture.size)
        return np.asarray(_smaller(picture), np.uint8)


def _first_frames(frames: "Iterator[VideoFrame]") -> "list[VideoFrame]":
    """The first two frames, or those that can be decoded."""
    from av.error import FFmpegError

    found: list[VideoFrame] = []
    try:
        for frame in frames:
            found.append(frame)
            if len(found) == 2:
                break
    except FFmpegError:
        pass
    return found
