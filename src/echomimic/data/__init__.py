"""Files that come with the package: the articulation network and its card, the face mesh, the demo."""

from importlib.resources import files
from pathlib import Path


def data_path(name: str) -> Path:
    """The path of the bundled file called `name`."""
    return Path(str(files(__name__) / name))


def demo_portrait() -> Path:
    """Path of a NASA portrait of the astronaut Eileen Collins, in the public domain."""
    return data_path("astronaut.png")


def demo_voice() -> Path:
    """Path of a few neutral sentences, spoken by the free synthesiser flite (voice slt)."""
    return data_path("demo_voice.flac")
