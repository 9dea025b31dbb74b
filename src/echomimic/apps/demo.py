"""The bundled demo: whose portrait it shows and whose voice it speaks with."""

from pathlib import Path

from echomimic.data import data_path


def demo_portrait() -> Path:
    """Eileen Collins, astronaut: a NASA portrait in the public domain."""
    return data_path("astronaut.png")


def demo_voice() -> Path:
    """A few neutral sentences, spoken by the free synthesiser flite (voice slt)."""
    return data_path("demo_voice.flac")
