"""Many voices for one portrait, with one engine: python examples/batch.py FOLDER_OF_VOICES [PORTRAIT [OUT_FOLDER]]."""

import sys
from pathlib import Path

import echomimic
from echomimic.data import data_path


def main(voices: str, portrait: str = "", output: str = "clips") -> None:
    """Render a clip for every sound file; one that cannot be read is reported and skipped."""
    engine = echomimic.load("mesh")
    picture = echomimic.read_picture(portrait or data_path("astronaut.png"))
    Path(output).mkdir(parents=True, exist_ok=True)
    for voice in sorted(path for path in Path(voices).iterdir() if path.is_file()):
        try:
            clip = echomimic.animate(picture, voice, output=Path(output) / f"{voice.stem}.mp4", engine=engine, size=512)
        except echomimic.EchoMimicError as error:
            sys.stderr.write(f"{voice.name}: {error}\n")
        else:
            sys.stderr.write(f"{voice.name}: {clip.path}, {clip.seconds:.1f} s in {clip.took:.1f} s\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
