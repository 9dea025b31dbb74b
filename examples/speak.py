"""Make a video of a portrait speaking: python examples/speak.py [PORTRAIT VOICE [OUT]]."""

import sys

import echomimic
from echomimic.data import data_path


def main(portrait: str = "", voice: str = "", output: str = "speak.mp4") -> None:
    """Render one clip and report what was made."""

    def progress(done: int, total: int) -> None:
        sys.stderr.write(f"\r{done} of {total} frames")

    clip = echomimic.animate(
        portrait or data_path("astronaut.png"),
        voice or data_path("demo_voice.flac"),
        output=output,
        size=512,
        progress=progress,
    )
    sys.stderr.write(f"\n{clip.path}: {clip.width}x{clip.height}, {clip.seconds:.1f} s\n")
    for note in clip.notes:
        sys.stderr.write(f"note: {note}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
