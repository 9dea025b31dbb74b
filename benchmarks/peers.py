"""Accuracy of other free lip sync software on filmed clips: `python benchmarks/peers.py`.

npm fetches `wawa-lipsync` and `@met4citizen/headaudio` into a temporary folder and node runs them; `pip install
pocketsphinx` for the phone recogniser. Visemes and phones become opening and width by the table of
`echomimic.train.articulation.labels`. A peer is judged at the delay of at most 0.2 s that suits it best, ours at none.
npm's `wlipsync` is left out: its package carries no profile, without which it hears nothing.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from articulation import SHARED, mouth_of, r
from echomimic.mesh.speech_to_face import SAMPLE_RATE, lip_opening
from echomimic.signals import gaussian_smooth
from echomimic.train.articulation.labels import CHANNELS, REST_GAP, Segment, canonical_segments, make_labels
from echomimic.types import Floats

PACKAGES = ("wawa-lipsync@0.0.2", "@met4citizen/headaudio@0.1.0")
RATE, PEER_FPS, FPS = 48_000, 50, 25.0
_PHONES = {
    "PP": "p", "FF": "f", "TH": "th", "DD": "d", "kk": "k", "CH": "ch", "SS": "s", "nn": "n", "RR": "r", "aa": "aa",
    "E": "eh", "I": "iy", "O": "ao", "U": "uw",
}  # fmt: skip
_LATEST = 5
"""Frames at 25 fps by which a peer may be late."""
Mouth = tuple[Floats, Floats]
"""Opening and width (T,) at 25 frames a second."""


def main() -> None:
    paths = sorted((SHARED / "data" / "speech_tracks").glob("*.npz"))
    if not paths:
        print(f"no speech_tracks under {SHARED}: nothing to judge on")
        return
    films = [_film(path) for path in paths]
    mouths: dict[str, list[Mouth]] = {"echomimic": [_ours(sound, len(opening)) for sound, opening, _ in films]}
    mouths |= _on_the_web([sound for sound, _, _ in films])
    try:
        mouths["pocketsphinx"] = [_pocketsphinx(sound) for sound, _, _ in films]
    except ImportError:
        print("pocketsphinx is missing (pip install pocketsphinx)")
    half = len(paths) // 2
    print(f"{'':16} {'all ' + str(len(paths)):>14} {'second half':>14}   delay")
    for name, found in mouths.items():
        delays = [0] if name == "echomimic" else range(_LATEST + 1)
        scores = {delay: _score(found, films, delay) for delay in delays}
        best = max(scores, key=lambda delay: scores[delay][:, :2].mean())
        weights = [len(opening) for _, opening, _ in films]
        whole = np.average(scores[best], 0, weights)
        later = np.average(scores[best][half:], 0, weights[half:])
        print(f"{name:16} {whole[0]:6.3f} {whole[1]:6.3f}  {later[0]:6.3f} {later[1]:6.3f}   {best / FPS:.2f} s")


def _film(path: Path) -> tuple[Floats, Floats, Floats]:
    """Sound at 16 kHz, and the filmed opening and width."""
    with np.load(path, allow_pickle=False) as track:
        return track["audio"].astype(np.float32) / 32768, track["opening"], track["width"]


def _score(found: list[Mouth], films: list[tuple[Floats, Floats, Floats]], delay: int) -> Floats:
    """(clips, 2): r of opening and width after `delay` frames are taken off the front."""
    rows = []
    for mouth, (_, *filmed) in zip(found, films, strict=True):
        row = []
        for curve, truth in zip(mouth, filmed, strict=True):
            moved = np.concatenate([curve[delay:], np.repeat(curve[-1:], delay + len(truth))])[: len(truth)]
            row.append(r(moved, truth))
        rows.append(row)
    return np.array(rows)


def _ours(sound: Floats, frames: int) -> Mouth:
    curves = mouth_of(sound, frames)
    return lip_opening(curves), curves["spread"]


def _on_the_web(sounds: list[Floats]) -> dict[str, list[Mouth]]:
    """The visemes of the libraries for the web."""
    result: dict[str, list[Mouth]] = {}
    targets = {f"viseme_{name}": _targets(phone) for name, phone in _PHONES.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["npm", "install", "--silent", "--prefix", name, *PACKAGES], check=True)
        for k, sound in enumerate(sounds):
            path = folder / f"{k}.f32"
            path.write_bytes(resample_poly(sound, RATE, SAMPLE_RATE).astype("<f4").tobytes())
            script = Path(__file__).with_suffix(".mjs")
            command = ["node", str(script), str(folder / "node_modules"), str(path)]
            said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for peer in said.keys() - {"file"}:
                result.setdefault(peer, []).append(_from_visemes(said[peer], targets))
    return result


def _targets(phone: str) -> tuple[float, float]:
    """Opening and width of a phone that lasts, relative to a pause."""
    curves = make_labels([Segment(0.0, 1.0, phone)], 100).curves[50]
    return float(curves[CHANNELS.index("gap")]), float(curves[CHANNELS.index("width")])


def _from_visemes(frames: list[dict[str, float]], targets: dict[str, tuple[float, float]]) -> Mouth:
    opening, width = np.full(len(frames), REST_GAP), np.zeros(len(frames))
    for k, weights in enumerate(frames):
        for viseme, weight in weights.items():
            if viseme in targets:
                opening[k] += weight * (targets[viseme][0] - REST_GAP)
                width[k] += weight * targets[viseme][1]
    smooth = [gaussian_smooth(curve.astype(np.float32), 0.04 * PEER_FPS) for curve in (opening, width)]
    return smooth[0][::2], smooth[1][::2]


def _pocketsphinx(sound: Floats) -> Mouth:
    """Phones of PocketSphinx's phone loop through the table."""
    from pocketsphinx import Decoder, get_model_path

    decoder = Decoder(
        hmm=get_model_path("en-us/en-us"), allphone=get_model_path("en-us/en-us-phone.lm.bin"), lm=None, dict=None,
        lw=2.0, beam=1e-20, pbeam=1e-20, loglevel="FATAL",
    )  # fmt: skip
    decoder.start_utt()
    decoder.process_raw((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    rate = 100
    phones = [
        Segment(part.start_frame / rate, (part.end_frame + 1) / rate, _phone(part.word)) for part in decoder.seg()
    ]
    frames = int(len(sound) / SAMPLE_RATE * 100) + 1
    curves = make_labels(canonical_segments(phones, "en"), frames).curves[2::4]
    return curves[:, CHANNELS.index("gap")], curves[:, CHANNELS.index("width")]


def _phone(name: str) -> str:
    return "pau" if name.startswith(("SIL", "+", "<")) else name.lower()


if __name__ == "__main__":
    main()
