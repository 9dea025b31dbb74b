"""Files that come with the package: the articulation network and its card, the face mesh, the demo."""

from importlib.resources import files
from pathlib import Path


def data_path(name: str) -> Path:
    """Where the bundled file called `name` lies."""
    return Path(str(files(__name__) / name))
