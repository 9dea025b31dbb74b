"""Read the tags of a file: of videos and sounds, GIFs, pictures, and folders of pictures."""

from pathlib import Path

from echomimic.errors import VideoError
from echomimic.media.gif import read_comment
from echomimic.media.output import frame_name
from echomimic.media.source import content_kind, open_image, open_media

ACCEPTED = "a video, a gif, a png, or a folder of frames"


def read_tags(path: str | Path) -> dict[str, str]:
    """The tags of a file by lower-case name; of a folder of frames those of the first. Raises VideoError."""
    path = Path(path)
    if path.is_dir():
        first = path / frame_name(1)
        if not first.is_file():
            raise VideoError(f"folder {path} holds no {first.name}; expected {ACCEPTED}")
        path = first
    image = open_image(path) if path.is_file() and content_kind(path) != "sound" else None
    if image is not None:
        with image:
            tags = {str(name).lower(): _text(value) for name, value in image.info.items()}
            if image.format == "GIF":
                tags["comment"] = read_comment(path)
        return {name: text for name, text in tags.items() if text}
    with open_media(path, ACCEPTED, VideoError) as container:
        return {name.lower(): str(value) for name, value in container.metadata.items()}


def _text(value: object) -> str:
    """Text of a tag; nothing for numbers and other facts that Pillow keeps there."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, str) else ""
