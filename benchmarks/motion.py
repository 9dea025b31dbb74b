"""Motion in figures: drawings, motion sync, tracking, retargeting, generated hands, attack files, round trips."""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors.numpy import load_file

from echomimic.diffusion.condition_images import PARTS, SELECTED, draw_hands, draw_landmarks
from echomimic.errors import MotionError
from echomimic.landmarks.body import find_body
from echomimic.landmarks.topology import ELBOWS, HAND_BONES, SHOULDERS, WRISTS
from echomimic.media import read_picture, read_speech, sound_blocks, speech_from_samples
from echomimic.motion import align_pose, gesture_track, load_motion, save_motion, track_video
from echomimic.motion.body_retarget import portrait_bones
from echomimic.motion.gestures import detect_rhythm
from echomimic.types import LandmarkTrack, PoseTrack, Speech
from motion_sync import MetricFaces, sync_exactly
from samples import SHARED

TESTS = Path(__file__).resolve().parents[1] / "tests"
DATA = SHARED / "data"
Array = npt.NDArray[np.float64]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    drawings()
    attacks()
    if not DATA.is_dir():
        print(f"no samples at {SHARED}: set ECHOMIMIC_SHARED; the rest is left out")
        return
    motion_sync()
    round_trips()
    tracking()
    retargeting()
    hands()
    known_stresses()


def say(what: str, figure: str) -> None:
    print(f"{what:<58} {figure}", flush=True)


def drawings() -> None:
    """Pixels of our drawings that equal the original's."""
    with np.load(TESTS / "golden" / "draw.npz", allow_pickle=False) as archive:
        inputs = {name: archive[name] for name in archive.files}
    same = total = 0
    for path in sorted((TESTS / "golden" / "draw").glob("*.png")):
        golden = np.asarray(Image.open(path))
        ours = _draw(path.stem, (golden.shape[1], golden.shape[0]), inputs)
        same += int((ours == golden).all(axis=-1).sum())
        total += golden.shape[0] * golden.shape[1]
    say("drawings equal to golden", f"{same / total:.4%} of {total} pixels")


def _draw(stem: str, size: tuple[int, int], inputs: dict[str, Array]) -> npt.NDArray[np.uint8]:
    version, kind, *rest = stem.split("_")
    if version == "v2":
        return draw_hands(inputs["v2.01.0" if kind == "size" else ".".join(["v2", kind, *rest])], size=size)
    if kind == "edge":
        name = "_".join(rest)
        return draw_landmarks(inputs[f"v1.edge.{name}"], size if name == "unscaled256" else (512, 512), size)
    return draw_landmarks(inputs[f"v1.{rest[0]}"], (512, 512), size, PARTS if kind == "demo" else SELECTED)


def attacks() -> None:
    """Hostile pickles that were admitted."""
    sys.path.insert(0, str(TESTS))
    from test_motion_importers import _attacks

    admitted = 0
    with tempfile.TemporaryDirectory() as name:
        flag = Path(name) / "flag"
        files = _attacks(flag)
        for data in files.values():
            (Path(name) / "0.pkl").write_bytes(data)
            try:
                load_motion(Path(name))
                admitted += 1
            except MotionError:
                admitted += flag.exists()
    say("attack files admitted", f"{admitted} of {len(files)}")


def motion_sync() -> None:
    stored = load_file(SHARED / "golden" / "motion_sync.safetensors")
    driver = MetricFaces(stored["drv.lmks"], stored["drv.lmks3d"], stored["drv.trans_mat"])
    reference = MetricFaces(stored["ref.lmks"][None], stored["ref.lmks3d"][None], stored["ref.trans_mat"][None])
    error = np.abs(sync_exactly(driver, reference).points[..., :2] - stored["motion_sync"]).max()
    say("motion sync, exact, against golden", f"{error:.1e} px at most")


def round_trips() -> None:
    """npz to json to csv to npz, and V1's and V2's folders to npz."""
    worst = 0.0
    for name in ("landmarks", "pose/01", "pose/ultraman"):
        first = load_motion(DATA / name, fps=24)
        with tempfile.TemporaryDirectory() as folder:
            track = first
            for file in ("a.npz", "b.json", "c.csv", "d.npz"):
                track = load_motion(save_motion(Path(folder) / file, track))
        parts = ("points",) if isinstance(first, LandmarkTrack) else ("body", "hands", "face")
        worst = max(worst, *(float(np.abs(getattr(first, p) - getattr(track, p)).max()) for p in parts))
    say("round trip folder -> npz -> json -> csv -> npz", f"largest difference {worst:g}")


def tracking() -> None:
    path = DATA / "driving" / "a.mp4"
    track_video(path)
    for pose in (False, True):
        began, used = time.perf_counter(), _cpu()
        track = track_video(path, pose)
        took, used = time.perf_counter() - began, _cpu() - used
        what = "body, hands and face" if pose else "face"
        figure = f"{len(track) / took:.0f} frames/s, {len(track) / used:.0f} per CPU-second"
        say(f"tracking, {what}, {track.image_size[0]}x{track.image_size[1]}, in total", figure)


def _cpu() -> float:
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


def retargeting() -> None:
    """Hands inside the picture, bones no longer than the portrait's, and as long at their longest."""
    inside, bones, pairs = [], [], 0
    for path in sorted((DATA / "half_body").glob("*.png")):
        picture = read_picture(path)
        body, size = find_body(picture), (picture.width, picture.height)
        own = portrait_bones(body, size)
        for name in ("01", "ultraman"):
            aligned = align_pose(_pose(name), body, size)
            pairs += 1
            seen = aligned.hands[..., 2].min(axis=-1) > 0
            places = aligned.hands[..., :2][seen]
            inside.append(((places >= 0) & (places <= 1)).all(axis=(1, 2)).mean())
            bones.append(_held(aligned, own.hand, own.arm, size))
    say(f"retargeted hands inside the picture, {pairs} pairs", f"{np.mean(inside):.1%} of hands")
    say("retargeted bones within 2 % of the portrait's", f"{np.mean(bones):.1%} of bones")


def _pose(name: str) -> PoseTrack:
    track = load_motion(DATA / "pose" / name, fps=24)
    assert isinstance(track, PoseTrack)
    return track


def _held(track: PoseTrack, hand: Array, arm: tuple[float, float], size: tuple[int, int]) -> float:
    """Share of bones never over 2 % longer than the portrait's; those of hands are also as long at their longest."""
    places = track.hands[..., :2] * np.array(size)
    lengths = np.stack([np.linalg.norm(places[:, :, a] - places[:, :, b], axis=-1) for a, b in HAND_BONES], axis=-1)
    longest = lengths.max(axis=(0, 1))
    kept = list(np.abs(longest / hand - 1) <= 0.02)
    points = track.body[..., :2] * np.array(size)
    for near, far, most in ((SHOULDERS, ELBOWS, arm[0]), (ELBOWS, WRISTS, arm[1])):
        for a, b in zip(near, far, strict=True):
            kept.append(np.linalg.norm(points[:, a] - points[:, b], axis=-1).max() <= 1.02 * most)
    return float(np.mean(kept))


def hands() -> None:
    speech = _minute()
    began = time.perf_counter()
    track = gesture_track(speech, 25, seed=1)
    took = time.perf_counter() - began
    steps = np.linalg.norm(np.diff(track.hands[..., :2], axis=0), axis=-1)
    figure = f"{steps.max():.2%} of the picture, {len(track)} frames made in {took:.2f} s"
    say("generated hands, 60 s: furthest step of any point", figure)
    own, other, lucky, count = [], [], [], 0
    for path in sorted((DATA / "speech").glob("*.wav")):
        voice = read_speech(path)
        stresses = np.array(detect_rhythm(voice).stresses), accents(voice)
        for seed in range(5):
            landed = landings(gesture_track(voice, 25, seed=seed))
            count += len(landed)
            own += list(_near(landed, stresses[0]))
            other += list(_near(landed, stresses[1]))
        lucky += list(_near(np.random.default_rng(0).uniform(0, voice.duration, 2000), stresses[1]))
    say(f"strokes within 120 ms of a stress, {count} strokes", f"{np.mean(own):.0%} by the program's own ear")
    say("  by another ear (full-band loudness and pitch)", f"{np.mean(other):.0%}, by chance {np.mean(lucky):.0%}")


SENTENCES = (
    "I would like to talk about the weather in the mountains, because it changes every hour.",
    "We tried three different methods, but only the second one produced a useful result.",
    "My brother bought a wonderful old piano from a teacher in the village.",
    "If the train arrives before seven, we will have enough time for breakfast.",
    "The children were playing in the garden until the rain began to fall.",
    "She opened the letter slowly, read it twice, and put it in her pocket.",
    "The museum has a large collection of paintings from the nineteenth century.",
    "After the concert we walked along the harbor and talked about the future.",
)


def known_stresses() -> None:
    """Strokes on sentences whose stressed vowels festival tells, since nobody marked those of the sample voices."""
    if shutil.which("festival") is None:
        return say("strokes on stresses that are known", "left out: festival is not installed")
    stressed, accented, lucky = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for sentence in SENTENCES:
            path = Path(folder) / "said.wav"
            vowels = _said(sentence, path)
            voice = read_speech(path)
            strong = vowels[vowels[:, 0] > 0, 2:].mean(axis=1)
            accent = vowels[(vowels[:, 0] > 0) & (vowels[:, 1] > 0), 2:].mean(axis=1)
            for seed in range(5):
                landed = landings(gesture_track(voice, 25, seed=seed))
                stressed += list(_near(landed, strong))
                accented += list(_near(landed, accent))
            lucky += list(_near(np.random.default_rng(0).uniform(0, voice.duration, 500), strong))
    figure = f"{np.mean(stressed):.0%}, by chance {np.mean(lucky):.0%}; of pitch-accented ones {np.mean(accented):.0%}"
    return say(f"  of stressed vowels that festival tells, {len(stressed)} strokes", figure)


def _said(sentence: str, path: Path) -> Array:
    """Speak a sentence into `path`; (stress, accent, start, end) of every vowel."""
    row = """(format t "%s %s %s %s\\n" (item.feat s "stress") (item.feat s "accented") (item.feat g "segment_start")
        (item.feat g "segment_end"))"""
    each = f"""(mapcar (lambda (s) (mapcar (lambda (g) (if (string-equal (item.feat g "ph_vc") "+") {row}))
        (item.relation.daughters s (quote SylStructure)))) (utt.relation.items u (quote Syllable)))"""
    script = f'(begin (set! u (utt.synth (Utterance Text "{sentence}"))) {each} (utt.save.wave u "{path}"))'
    said = subprocess.run(["festival", "-b", script], capture_output=True, text=True, check=True).stdout
    return np.array([[float(word) for word in line.split()] for line in said.splitlines() if len(line.split()) == 4])


def _minute() -> Speech:
    """A minute of the sample voices, one after the other with half a second between."""
    voices = [np.concatenate(list(sound_blocks(read_speech(p)))) for p in sorted((DATA / "speech").glob("*.wav"))]
    joined = np.concatenate([part for voice in voices for part in (voice, np.zeros(8000, np.float32))])
    return speech_from_samples(np.resize(joined, 60 * 16_000), 16_000)


def landings(track: PoseTrack) -> Array:
    """Seconds at which a wrist ends a way down of at least half a percent of the picture."""
    found: list[float] = []
    for y in track.hands[:, :, 0, 1].T.astype(np.float64):
        lows = np.flatnonzero((y[1:-1] > y[:-2]) & (y[1:-1] >= y[2:])) + 1
        reach = round(0.3 * track.fps)
        found += [low / track.fps for low in lows if y[low] - y[max(0, low - reach) : low].min() > 0.005]
    return np.array(sorted(found))


def _near(moments: Array, stresses: Array) -> Iterator[bool]:
    for moment in moments:
        yield bool(len(stresses)) and bool(np.abs(stresses - moment).min() <= 0.12)


def accents(speech: Speech) -> Array:
    """Stressed syllables by another ear than the program's: peaks of full-band loudness plus pitch, in seconds."""
    sound = np.concatenate(list(sound_blocks(speech))).astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, 320), 640)[::160]
    level = 10 * np.log10((frames**2).mean(axis=1) + 1e-8)
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(640), 2048, axis=1)) ** 2
    echo = np.fft.irfft(spectrum, axis=1)[:, 40:230] / (np.fft.irfft(spectrum, axis=1)[:, :1] + 1e-9)
    voiced = (echo.max(axis=1) > 0.45) & (level > level.max() - 30)
    pitch = 12 * np.log2(16_000 / (40 + echo.argmax(axis=1)))
    pitch = np.where(voiced, pitch - np.median(pitch[voiced]), -6.0)
    score = level / level[voiced].std() + np.clip(pitch, -6, 6) / 3
    smooth = np.convolve(score, np.hanning(13) / np.hanning(13).sum(), mode="same")
    local = np.convolve(smooth, np.ones(120) / 120, mode="same")
    peaks = np.flatnonzero((smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:])) + 1
    peaks = [peak for peak in peaks if voiced[peak] and smooth[peak] > local[peak] + 0.3]
    kept: list[int] = []
    for peak in sorted(peaks, key=lambda index: -smooth[index]):
        if all(abs(peak - one) > 28 for one in kept):
            kept.append(int(peak))
    return np.array(sorted(kept)) / 100


if __name__ == "__main__":
    main()
