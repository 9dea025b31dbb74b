"""The bundled demo: whose portrait it shows and whose voice it speaks with."""

from importlib.util import find_spec
from pathlib import Path

from echomimic.data import data_path
from echomimic.errors import SetupError
from echomimic.installation import python


def demo_portrait() -> Path:
    """Eileen Collins, astronaut: a NASA portrait in the public domain, which scikit-image ships.

    Its file is looked up without importing scikit-image, which takes a quarter of a second.
    """
    spec = find_spec("skimage")
    homes = spec.submodule_search_locations if spec else None
    picture = Path(next(iter(homes or []), "")) / "data" / "astronaut.png"
    if not picture.is_file():
        raise SetupError(
            f"the demo portrait is not here; it comes with scikit-image: {python()} -m pip install scikit-image"
        )
    return picture


def demo_voice() -> Path:
    """A few neutral sentences, spoken by the free synthesiser flite (voice slt)."""
    return data_path("demo_voice.flac")
