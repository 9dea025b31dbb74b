"""Peak memory of the whole command for one and for ten minutes of speech."""

import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

from samples import SHARED, demo_voice

PROGRAM = """
import resource, sys
from echomimic.apps.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
    picture = SHARED / "data" / "portraits" / "woman_0033.png"
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (1, 10):
            voice = Path(folder) / f"{minutes}.wav"
            repeat_voice(voice, minutes * 60)
            line = ["animate", str(picture), str(voice), "-o", str(Path(folder) / "out.mp4"), "--size", "512"]
            done = subprocess.run([sys.executable, "-c", PROGRAM, *line], check=True, capture_output=True, text=True)
            peaks[minutes] = int(done.stdout.split()[-1]) / 1024
            print(f"{minutes} min: peak {peaks[minutes]:.0f} MB", flush=True)
    print(f"ten minutes over one: {peaks[10] / peaks[1]:.3f}")


def repeat_voice(path: Path, seconds: int, click: float | None = None) -> None:
    """The bundled voice over and over, as 16-bit mono; with a `click`, silence from a second before it, and the click.

    `click` is in seconds from the start.
    """
    with av.open(str(demo_voice())) as source:
        blocks = [frame.to_ndarray().reshape(-1) for frame in source.decode(audio=0)]
        rate = source.streams.audio[0].rate
    voice = np.concatenate(blocks).astype(np.int16)
    with av.open(str(path), "w", format="wav") as target:
        stream = target.add_stream("pcm_s16le", rate=rate, layout="mono")
        for start in range(0, seconds * rate, rate):
            at = np.arange(start, start + rate)
            samples = voice[at % len(voice)]
            if click is not None:
                samples[at > (click - 1) * rate] = 0
                samples[np.abs(at - round(click * rate)) < rate // 1000] = 30_000
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))


if __name__ == "__main__":
    main()
