"""Material of the benchmarks: samples beside the checkout (ECHOMIMIC_SHARED), or the bundled files."""

import os
from pathlib import Path

import numpy as np

from echomimic.media import read_picture, read_speech
from echomimic.types import Portrait, Speech

SHARED = Path(os.environ.get("ECHOMIMIC_SHARED", Path(__file__).resolve().parents[2] / "shared"))
PORTRAITS = ("woman_0033.png", "man_0025.png", "v1_a.png", "v1_d.jpg", "woman_0101.png")
VOICES = ("echomimic_en.wav", "echomimic_en_girl.wav", "chunwang.wav")


def portraits(names: tuple[str, ...] | None = PORTRAITS) -> list[Portrait]:
    """The sample portraits by name (None: all there are); the astronaut of scikit-image where there are none."""
    folder = SHARED / "data" / "portraits"
    if not folder.is_dir():
        return [astronaut()]
    paths = sorted(folder.iterdir()) if names is None else [folder / name for name in names]
    return [read_picture(path) for path in paths]


def voices() -> list[Speech]:
    """The sample voices; the bundled one where there are none."""
    folder = SHARED / "data" / "speech"
    if not folder.is_dir():
        return [read_speech(demo_voice())]
    return [read_speech(folder / name) for name in VOICES]


def astronaut() -> Portrait:
    """Eileen Collins (NASA, public domain), as scikit-image carries her."""
    from skimage import data

    return Portrait(np.asarray(data.astronaut()), name="astronaut")


def demo_voice() -> Path:
    """The bundled voice."""
    from importlib.resources import files

    return Path(str(files("echomimic.data").joinpath("demo_voice.flac")))
