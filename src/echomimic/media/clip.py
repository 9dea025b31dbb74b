"""The finished clip: what its name asks for decides how it is written."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from echomimic.media.encode import MP4, WEBM, encode
from echomimic.media.gif import write_gif
from echomimic.media.live import write_live
from echomimic.media.output import atomic_path, check_output, frame_name, is_folder, no_frames, writing
from echomimic.notes import note
from echomimic.types import Picture, Speech

_RECIPES = {".mp4": MP4, ".webm": WEBM}


def write_clip(
    path: str | Path,
    frames: Iterable[Picture],
    fps: float,
    speech: Speech | None,
    tags: Mapping[str, str],
    live: str | Path | None = None,
) -> int:
    """Encode `frames` (H, W, 3) as they come, with the voice, into what the name asks for; how many were written.

    `.mp4` and `.webm` carry the sound, cut or continued with silence to the length of the frames; `.gif` and a
    folder of png pictures (a name without a suffix) do not. `tags` are stored in the file: comment, title and
    description by name, others inside the comment. `live` is where a `.mp4` may be read as fragments while it grows; it
    stays, whatever happens. What stands at `path` is replaced when all is done and is
    untouched if anything fails; `frames` is closed in any case. Raises OutputError.
    """
    flow = iter(frames)
    tags = {name: text.encode("utf-8", "replace").decode() for name, text in tags.items()}  # file names may be no UTF-8
    try:
        path = check_output(path)
        with atomic_path(path) as part:
            if live is not None and path.suffix.lower() == ".mp4":
                return write_live(Path(live), part, flow, fps, speech, tags)
            if path.suffix.lower() in _RECIPES:
                return encode(str(part), _RECIPES[path.suffix.lower()], flow, fps, speech, tags)
            if speech is not None:
                kind = "a folder of pictures" if is_folder(path) else "gif"
                note("output_without_sound", "{name} has no sound: {kind} cannot hold it", name=path.name, kind=kind)
            return write_pngs(part, flow, tags) if is_folder(path) else write_gif(part, flow, fps, tags)
    finally:
        close = getattr(flow, "close", None)
        if close is not None:
            close()


def write_pngs(folder: Path, frames: Iterator[Picture], tags: Mapping[str, str]) -> int:
    """Each frame as a png with the tags in it, numbered from 1."""
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    for name, text in tags.items():
        info.add_itxt(name, text)
    with writing():
        folder.mkdir()
    count = 0
    for count, frame in enumerate(frames, start=1):
        with writing():
            Image.fromarray(frame).save(folder / frame_name(count), pnginfo=info, compress_level=3)
    if count == 0:
        raise no_frames()
    return count
