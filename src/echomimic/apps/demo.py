"""The portrait and the voice of the demo."""

from pathlib import Path

from echomimic.data import data_path


def demo_portrait() -> Path:
    """Path of a NASA portrait of the astronaut Eileen Collins, in the public domain."""
    return data_path("astronaut.png")


def demo_voice() -> Path:
    """Path of a few neutral sentences, spoken by the free synthesiser flite (voice slt)."""
    return data_path("demo_voice.flac")
