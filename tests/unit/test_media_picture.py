"""Pictures in: every mode and orientation gives the same upright pixels, and bad files get one line."""

import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from echomimic.errors import PictureError
from echomimic.media import read_picture
from echomimic.media.picture import BACKDROP, LONGEST_SIDE
from echomimic.media.source import content_kind
from echomimic.notes import collect_notes
from helpers.heic import write_heic
from helpers.media_samples import picture, tone, write_sound, write_video


def close(pixels: np.ndarray, expected: np.ndarray, within: float = 3.0) -> bool:
    """Whether two pictures are equal up to a mean difference of `within` grey levels."""
    return pixels.shape == expected.shape and float(np.abs(pixels.astype(int) - expected).mean()) <= within


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff", ".ppm", ".tga", ".jp2", ".gif"])
def test_every_picture_format_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"face{suffix}"
    Image.fromarray(picture()).save(path)
    portrait = read_picture(path)
    assert close(portrait.pixels, picture(), 6.0)
    assert portrait.pixels.dtype == np.uint8
    assert portrait.pixels.flags.c_contiguous
    assert portrait.alpha is None
    assert (portrait.width, portrait.height, portrait.name) == (96, 64, "face")


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "jpeg called.png"
    Image.fromarray(picture()).save(path, "JPEG", quality=95)
    assert close(read_picture(path).pixels, picture())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = picture()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for suffix, limit in ((".jpg", 3.0), (".png", 0.0)):
        path = tmp_path / f"face{suffix}"
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=95)
        assert close(read_picture(path).pixels, upright, limit)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = picture()[..., 0]
    suffix = {"P": ".png", "PA": ".png", "LA": ".png", "YCbCr": ".jpg"}.get(mode, ".tiff")
    path = tmp_path / f"face{suffix}"
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "I":
        image = Image.fromarray(grey.astype(np.int32) * 257)
    elif mode == "F":
        image = Image.fromarray(grey.astype(np.float32) / 255)
    elif mode == "LAB":
        turn = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        image = Image.fromarray(picture())
        image = ImageCms.applyTransform(image, turn) or image
    else:
        image = Image.fromarray(picture()).convert("P" if mode == "PA" else mode)
    image.save(path)
    pixels = read_picture(path).pixels
    if mode in ("L", "LA", "1"):
        assert close(pixels, np.asarray(Image.fromarray(picture()).convert(mode).convert("RGB")), 0.0)
    elif mode in ("I;16", "I", "F"):
        assert close(pixels, np.repeat(grey[..., None], 3, axis=2), 1.0)
    else:
        assert close(pixels, picture(), 12.0)


def test_sixteen_bit_grey_png_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 96 * 64).reshape(64, 96).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert close(read_picture(tmp_path / "deep.png").pixels[..., 1], ramp / 257, 1.0)


def _png(path: Path, width: int, height: int, depth: int, colour: int, rows: bytes) -> Path:
    """A png written byte by byte, for kinds that Pillow does not write and sizes that nobody holds."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in [*chunks, (b"IEND", b"")]:
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bit_colour_png(tmp_path: Path, alpha: bool) -> None:
    deep = picture().astype(">u2") * 257
    if alpha:
        deep = np.concatenate([deep, np.full((64, 96, 1), 65535)], axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    portrait = read_picture(_png(tmp_path / "deep.png", 96, 64, 16, 6 if alpha else 2, rows))
    assert close(portrait.pixels, picture(), 1.0)


def test_alpha_is_laid_over_grey_and_kept(tmp_path: Path) -> None:
    alpha = np.zeros((64, 96), np.uint8)
    alpha[:, 32:64], alpha[:, 64:] = 128, 255
    Image.fromarray(np.dstack([picture(), alpha])).save(tmp_path / "cut out.png")
    portrait = read_picture(tmp_path / "cut out.png")
    assert portrait.alpha is not None
    assert (portrait.alpha == alpha).all()
    assert (portrait.pixels[:, :32] == BACKDROP).all()
    assert close(portrait.pixels[:, 64:], picture()[:, 64:], 0.0)
    half = (picture()[:, 32:64].astype(int) * 128 + BACKDROP * 127) / 255
    assert close(portrait.pixels[:, 32:64], half, 1.0)


def test_palette_transparency_counts_and_opaque_alpha_does_not(tmp_path: Path) -> None:
    image = Image.fromarray(picture()).quantize(16)
    image.save(tmp_path / "a.png", transparency=image.getpixel((90, 60)))
    portrait = read_picture(tmp_path / "a.png")
    assert portrait.alpha is not None
    assert portrait.alpha[60, 90] == 0
    Image.fromarray(picture()).convert("RGBA").save(tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png").alpha is None


def test_alpha_turns_with_the_picture(tmp_path: Path) -> None:
    alpha = np.full((64, 96), 255, np.uint8)
    alpha[:8] = 0
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(np.dstack([picture(), alpha])).copy()).save(tmp_path / "a.png", exif=exif)
    portrait = read_picture(tmp_path / "a.png")
    assert portrait.alpha is not None
    assert (portrait.alpha == alpha).all()


def test_a_colour_profile_is_applied(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(picture()).save(tmp_path / "same.png", icc_profile=lab)
    assert close(read_picture(tmp_path / "same.png").pixels, picture(), 0.5)
    Image.fromarray(picture()).save(tmp_path / "broken.png", icc_profile=b"no profile")
    assert close(read_picture(tmp_path / "broken.png").pixels, picture(), 0.0)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_the_first_image_of_an_animation_is_used_with_a_note(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    second = Image.fromarray(255 - picture())
    Image.fromarray(picture()).save(path, save_all=True, append_images=[second], duration=100, lossless=True)
    with collect_notes() as notes:
        assert close(read_picture(path).pixels, picture(), 8.0)
    assert notes == [f"a{suffix} is animated: its first image is used"]


def test_a_picture_that_only_ffmpeg_knows(tmp_path: Path) -> None:
    path = tmp_path / "scan.dpx"
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("dpx", rate=1)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), "rgb24")))
        container.mux(stream.encode(None))
    assert close(read_picture(path).pixels, picture(), 0.0)


@pytest.mark.parametrize("width", [9000, 8192])
def test_a_very_large_picture_is_scaled_down_with_a_note(tmp_path: Path, width: int) -> None:
    wide = np.asarray(Image.fromarray(picture()).resize((width, 300)))
    for suffix in (".png", ".jpg"):
        path = tmp_path / f"wide{suffix}"
        Image.fromarray(wide).save(path)
        with collect_notes() as notes:
            portrait = read_picture(path)
        assert (portrait.width, portrait.height) == (LONGEST_SIDE, round(300 * LONGEST_SIDE / width))
        assert len(notes) == 1
        assert "4096" in notes[0]


@pytest.mark.parametrize("name", ["with space.png", "Bild für 照片.png", "a:b.png", "100%d.png", "-o.png"])
def test_files_with_odd_names_are_accepted(tmp_path: Path, name: str) -> None:
    Image.fromarray(picture()).save(tmp_path / name)
    assert close(read_picture(tmp_path / name).pixels, picture(), 0.0)


def _small(path: Path) -> None:
    Image.fromarray(picture(1, 1)).save(path, "PNG")


def _cut(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:9000])


def _invisible(path: Path) -> None:
    Image.fromarray(np.dstack([picture(), np.zeros((64, 96), np.uint8)])).save(path, "PNG")


BAD = {
    "missing": (lambda path: None, "does not exist"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "empty": (lambda path: path.touch(), "is empty"),
    "text": (lambda path: path.write_text("this is not a picture\n"), "holds text"),
    "svg": (lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"), "holds text"),
    "postscript": (
        lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n"),
        "PostScript|text",
    ),
    "noise": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(3000)), "expected a picture"),
    "one pixel": (_small, "1×1 pixels; expected 32×32"),
    "cut off": (_cut, "cut off"),
    "cut in the header": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0"), "cut off"),
    "bomb": (lambda path: _png(path, 60000, 60000, 1, 0, b"\0"), "expected at most 100 megapixels"),
    "smaller bomb": (lambda path: _png(path, 12000, 10000, 8, 2, b"\0"), "12000×10000"),
    "transparent": (_invisible, "transparent all over"),
    "video": (lambda path: write_video(path.with_suffix(".mp4")).rename(path), "is a video"),
    "silent film": (lambda path: write_video(path.with_suffix(".mkv")).rename(path), "is a video"),
    "sound": (lambda path: write_sound(path.with_suffix(".mp3"), tone(1, 48000)).rename(path), "is a sound"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_picture_gets_one_line(
    tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    make, words = BAD[case]
    path = tmp_path / "face.png"
    make(path)
    with pytest.raises(PictureError, match=words) as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)
    assert "face.png" in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not [warning for warning in recwarn if "Decompression" in str(warning.category)]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_picture_gets_one_line(tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    Image.fromarray(picture()).save(path)
    path.chmod(0)
    with pytest.raises(PictureError, match="may not be read"):
        read_picture(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match="not a regular file"):
        read_picture(tmp_path / "pipe.png")


def deep(pixels: np.ndarray, kind: str) -> np.ndarray:
    """The picture's values in other depths, on the scale that such files use."""
    values = pixels.astype(np.float64)
    kinds: dict[str, np.ndarray] = {
        "8 in 32 signed": values.astype(np.int32),
        "8 in 16 signed": values.astype(np.int16),
        "12 in 16": np.rint(values / 255 * 4095).astype(np.uint16),
        "10 in 16": np.rint(values / 255 * 1023).astype(np.uint16),
        "16": (values * 257).astype(np.uint16),
        "32": (values * 16843009).astype(np.uint32),
        "signed 8": (values - 128).astype(np.int8),
        "float": (values / 255).astype(np.float32),
        "float with highlights": np.where(values > 254, 1.6, values / 255).astype(np.float32),
        "float to 255": values.astype(np.float32),
        "half": (values / 255).astype(np.float16),
        "double": values / 255,
    }
    return kinds[kind]


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("big", [True, False])
@pytest.mark.parametrize("kind", [
    "8 in 32 signed", "8 in 16 signed", "12 in 16", "10 in 16", "16", "32", "signed 8", "float",
    "float with highlights", "float to 255", "half", "double",
])  # fmt: skip
def test_tiffs_of_every_depth(tmp_path: Path, kind: str, big: bool, colour: bool) -> None:
    pixels = picture() if colour else picture()[..., 0]
    path = tmp_path / "face.tif"
    tifffile.imwrite(path, deep(pixels, kind), bigtiff=big, photometric="rgb" if colour else "minisblack")
    expected = pixels if colour else np.repeat(pixels[..., None], 3, axis=2)
    assert close(read_picture(path).pixels, expected, 1.5)


@pytest.mark.parametrize("options", [
    {"bigtiff": True}, {"bigtiff": True, "compression": "zlib"}, {"bigtiff": True, "tile": (32, 32)},
    {"byteorder": ">"}, {"planarconfig": "separate"},
])  # fmt: skip
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_layouts_of_tiffs(tmp_path: Path, options: dict[str, Any], depth: type) -> None:
    pixels: np.ndarray = picture().astype(depth) * (257 if depth is np.uint16 else 1)
    given = pixels.transpose(2, 0, 1) if "planarconfig" in options else pixels
    tifffile.imwrite(tmp_path / "face.tif", given, photometric="rgb", **options)
    assert close(read_picture(tmp_path / "face.tif").pixels, picture(), 1.0)


def test_a_tiff_of_12_bits_in_16_with_lzw_is_read_by_ffmpeg(tmp_path: Path) -> None:
    deep_grey = np.rint(picture()[..., 0] / 255 * 4095).astype(np.uint16)
    Image.fromarray(deep_grey).save(tmp_path / "face.tif", compression="tiff_lzw")
    assert close(read_picture(tmp_path / "face.tif").pixels, np.repeat(picture()[..., :1], 3, axis=2), 1.5)


def test_orientation_and_white_at_zero_of_deep_tiffs(tmp_path: Path) -> None:
    values = (255 - picture()[..., 0]).astype(np.uint16) * 257
    turned = np.rot90(values)
    tifffile.imwrite(tmp_path / "face.tif", turned, photometric="miniswhite", extratags=[(0x0112, 3, 1, 6, True)])
    assert close(read_picture(tmp_path / "face.tif").pixels, np.repeat(picture()[..., :1], 3, axis=2), 1.0)


@pytest.mark.parametrize("compression", [None, "jpeg", "tiff_lzw", "tiff_deflate"])
def test_ycbcr_tiffs(tmp_path: Path, compression: str | None) -> None:
    smooth = cv2.GaussianBlur(picture(), (0, 0), 3)
    Image.fromarray(smooth).convert("YCbCr").save(tmp_path / "face.tif", compression=compression)
    assert close(read_picture(tmp_path / "face.tif").pixels, smooth, 4.0)


def test_an_avif_is_read_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(picture()))).save(tmp_path / "face.avif", quality=95, exif=exif)
    assert close(read_picture(tmp_path / "face.avif").pixels, picture(), 6.0)


@pytest.mark.parametrize("tiles", [1, 2])
@pytest.mark.parametrize(("quarters", "mirror"), [(0, False), (1, False), (2, False), (3, True), (0, True)])
@pytest.mark.parametrize("depth", [False, True])
def test_photos_of_phones_are_read_upright(
    tmp_path: Path, tiles: int, quarters: int, mirror: bool, depth: bool
) -> None:
    stored = cv2.GaussianBlur(picture(256, 128), (0, 0), 2).astype(np.uint8)
    path = write_heic(tmp_path / "IMG_0001.HEIC", stored, tiles, quarters, mirror, depth)
    shown = np.rot90(stored, quarters)
    with collect_notes() as notes:
        portrait = read_picture(path)
    assert close(portrait.pixels, shown[:, ::-1] if mirror else shown, 4.0)
    assert notes == []
    assert content_kind(path) == "picture"


def test_a_heic_that_is_cut_off_gets_one_line(tmp_path: Path) -> None:
    path = write_heic(tmp_path / "a.heic", picture(256, 128), 2)
    for share in (0.5, 0.95):
        (tmp_path / "cut.heic").write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        with pytest.raises(PictureError, match=r"cut\.heic") as caught:
            read_picture(tmp_path / "cut.heic")
        assert "\n" not in str(caught.value)


def test_an_address_is_named_as_it_was_given() -> None:
    with pytest.raises(PictureError, match=re.escape("https://a.example//b//c.png is an address")):
        read_picture("https://a.example//b//c.png")
