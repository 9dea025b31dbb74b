"""Find the network files: in ECHOMIMIC_MODELS, in the cache, or in an installed mediapipe 0.10.21."""

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from echomimic.errors import SetupError

VARIABLE = "ECHOMIMIC_MODELS"
WHEEL = "mediapipe==0.10.21"
"""The last wheel that holds these files; they and it are under the Apache License 2.0."""


@dataclass(frozen=True)
class NetworkFile:
    """A file of the wheel: its path there, its size in bytes and its sha256."""

    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name without folders."""
        return self.path.rsplit("/", 1)[-1]


def _file(path: str, size: int, sha256: str) -> NetworkFile:
    return NetworkFile(f"mediapipe/modules/{path}.tflite", size, sha256)


FILES = {
    "face_short_range": _file(
        "face_detection/face_detection_short_range",
        229_714,
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    "face_full_range": _file(
        "face_detection/face_detection_full_range_sparse",
        676_746,
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
    "face_landmarks": _file(
        "face_landmark/face_landmark_with_attention",
        2_495_106,
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
    ),
    "palm": _file(
        "palm_detection/palm_detection_full",
        2_339_846,
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    ),
    "hand_landmarks": _file(
        "hand_landmark/hand_landmark_full",
        5_478_917,
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
    "hand_recrop": _file(
        "holistic_landmark/hand_recrop",
        123_792,
        "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
    ),
    "pose": _file(
        "pose_detection/pose_detection",
        2_959_046,
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    "pose_landmarks": _file(
        "pose_landmark/pose_landmark_full",
        6_440_512,
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    "selfie": _file(
        "selfie_segmentation/selfie_segmentation",
        249_505,
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
}
"""Every network that the package runs, by the name that it uses."""


def cache_folder() -> Path:
    """The folder that fetched network files are kept in."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "echomimic" / "models"


def find_file(name: str) -> Path | None:
    """The path of a network file of the right size; None if it is not found."""
    wanted = FILES[name]
    paths = (path for folder in _folders() for path in (folder / wanted.name, folder / wanted.path))
    return next((path for path in paths if path.is_file() and path.stat().st_size == wanted.size), None)


def missing_files() -> list[str]:
    """The names of FILES that are found nowhere."""
    return [name for name in FILES if find_file(name) is None]


def read_file(name: str) -> bytes:
    """The content of a network file, which is fetched if it is missing or if the copy in the cache is damaged.

    Raises SetupError if it cannot be fetched or read, or if a copy elsewhere has the wrong sha256.
    """
    path = find_file(name)
    content = None if path is None else _content(path)
    if path is None or (content is not None and path.parent == cache_folder() and not is_intact(name, content)):
        from echomimic.landmarks.networks.fetch import fetch_networks

        fetch_networks()
        path = find_file(name)
        content = None if path is None else _content(path)
    if content is None or not is_intact(name, content):
        raise SetupError(
            f"{path} is damaged (wrong sha256): delete it, and run: echomimic models fetch", code="models_damaged"
        )
    return content


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SetupError(f"{path} cannot be read ({error.strerror}): make it readable, or delete it") from None


def is_intact(name: str, content: bytes) -> bool:
    """Whether `content` has the sha256 of the network file."""
    return hashlib.sha256(content).hexdigest() == FILES[name].sha256


def _folders() -> Iterator[Path]:
    named = os.environ.get(VARIABLE)
    if named:
        yield Path(named)
    yield cache_folder()
    # located without an import: mediapipe's own takes most of a second
    package = importlib.util.find_spec("mediapipe")
    for folder in (package.submodule_search_locations or []) if package else []:
        yield Path(folder).parent
