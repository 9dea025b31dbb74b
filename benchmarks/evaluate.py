"""Print how accurate the metrics are on known clips: `python benchmarks/evaluate.py [offsets] [filmed] [speed]
[shards]`.

Filmed speech (`<shared>/data/speech_tracks`, from ECHOMIMIC_SHARED or beside the checkout) is used for evaluation only.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from echomimic.evaluate.catalogue import make_settings
from echomimic.evaluate.frame_pass import track_face
from echomimic.evaluate.landmarks import opening
from echomimic.evaluate.manifest import ClipSource
from echomimic.evaluate.measure import measure
from echomimic.evaluate.networks import MetricNetworks
from echomimic.evaluate.run import finish_run, identify, measure_clips, open_run
from echomimic.media import sound_blocks, speech_from_samples, write_clip
from echomimic.mesh.engine import MeshEngine
from echomimic.mesh.expected_mouth import expected_mouth
from echomimic.motion.lags import scan_lags
from echomimic.options import make_options
from echomimic.types import Portrait, Speech
from samples import SHARED, portraits, voices

RATE, FPS, LAG = 16000, 25.0, 15
LONG = 5.0


def samples_of(voice: Speech) -> np.ndarray:
    """A voice as (n,) at 16 kHz."""
    return np.concatenate(list(sound_blocks(voice, RATE)))


def later(samples: np.ndarray, frames: int, rate: int = RATE) -> np.ndarray:
    """Delay the sound by this number of frames: silence is put before it, or its start is cut off; its length stays."""
    count = abs(round(frames / FPS * rate))
    silence = np.zeros(count, np.float32)
    return np.concatenate([silence, samples[: -count or None]] if frames >= 0 else [samples[count:], silence])


def render(person: Portrait, voice: Speech, path: Path, size: int = 256) -> Path:
    """A clip of the mesh engine."""
    options = make_options({"size": size, "framing": "crop"})
    write_clip(path, MeshEngine().prepare(person, voice, None, options).frames(), options.fps, voice, {})
    return path


def offsets_found(seen: np.ndarray, samples: np.ndarray) -> list[int]:
    """What the scan finds for a sound late by -15…15 frames; 99 where it finds nothing."""
    found = []
    for late in range(-LAG, LAG + 1):
        expected = expected_mouth(speech_from_samples(later(samples, late), RATE), len(seen), FPS)
        sync = scan_lags(seen, expected.opening, FPS, LAG)
        found.append(99 if sync is None else sync.offset)
    return found


def measure_offsets(folder: Path) -> None:
    """Sound shifted under clips of the mesh engine."""
    errors: list[int] = []
    for person in portraits():
        for voice in voices():
            faces = track_face(render(person, voice, folder / f"{person.name}-{voice.name}.mp4"))
            assert faces is not None
            found = np.array(offsets_found(opening(faces), samples_of(voice))) - np.arange(-LAG, LAG + 1)
            errors += found.tolist()
            print(f"{person.name:16} {voice.name:22} off by at most {np.abs(found).max()}", flush=True)
    wrong = np.abs(errors)
    print(
        f"mesh clips: {len(wrong)} shifts, exact {np.mean(wrong == 0):.1%}, within one frame {np.mean(wrong <= 1):.1%}"
    )


def measure_filmed() -> None:
    """Sound shifted under the stored curves of filmed speech, against what the files claim and against themselves."""
    clips, frames, true, own = [], [], [], []
    for path in sorted((SHARED / "data" / "speech_tracks").glob("*.npz")):
        with np.load(path, allow_pickle=False) as track:
            samples, seen = track["audio"].astype(np.float32) / 32768, track["opening"].astype(np.float32)
        found = np.array(offsets_found(seen, samples))
        shifts = np.arange(-LAG, LAG + 1)
        rest = found[LAG]
        inside = np.abs(shifts + rest) <= LAG
        clips.append(path.stem)
        frames.append(len(seen))
        true.append(np.abs(found - shifts) <= 1)
        own.append((np.abs(found - shifts - rest) <= 1)[inside])
        print(f"{path.stem:26} {len(seen) / FPS:5.1f} s  unshifted {rest:+3d}  ", end="")
        print(f"right {true[-1].mean():4.0%}  against its own unshifted {own[-1].mean():4.0%}", flush=True)
    long = np.array(frames) > LONG * FPS
    for name, chosen in (("over 5 s", long), ("all", np.ones(len(long), bool))):
        rows = [[share[i].mean() > 0.5 for share in (true, own)] for i in np.flatnonzero(chosen)]
        print(f"filmed, {name}: {len(rows)} clips, right {np.mean(rows, axis=0)[0]:.0%}, ", end="")
        print(f"against its own unshifted offset {np.mean(rows, axis=0)[1]:.0%}")


def measure_speed(folder: Path) -> None:
    """The quick set at 512 x 512."""
    path = render(portraits()[0], voices()[0], folder / "speed.mp4", 512)
    settings = make_settings("quick")
    measure(ClipSource("warm", path), settings, MetricNetworks())
    wall, cpu = time.perf_counter(), time.process_time()
    found = measure(ClipSource("speed", path), settings, MetricNetworks())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    frames = found.container.frames
    print(f"quick set, 512 x 512: {frames / wall:.0f} frames/s by the clock, {frames / cpu:.0f} per CPU-second")


def measure_shards(folder: Path) -> None:
    """One shard against four."""
    people, voice = portraits()[:4], voices()[0]
    paths = [render(person, voice, folder / f"shard-{place}.mp4") for place, person in enumerate(people)]
    sources = [ClipSource(path.name, path, paths[0]) for path in paths]
    reports = []
    for shards in ([None], ["4/4", "1/4", "3/4", "2/4"]):
        run = open_run(folder / f"report-{len(shards)}", make_settings("default"), MetricNetworks())
        clips = [identify(run, source) for source in sources]
        for shard in shards:
            measure_clips(run, clips, shard)
        finish_run(run, clips)
        reports.append([(run.folder / name).read_bytes() for name in ("report.json", "table.csv", "index.html")])
    print(f"{len(sources)} clips, 1 shard against 4: {'identical' if reports[0] == reports[1] else 'DIFFERENT'}")


def main() -> None:
    wanted = sys.argv[1:] or ["offsets", "filmed", "speed", "shards"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for word in wanted:
            if word == "filmed":
                measure_filmed()
            else:
                {"offsets": measure_offsets, "speed": measure_speed, "shards": measure_shards}[word](folder)


if __name__ == "__main__":
    main()
