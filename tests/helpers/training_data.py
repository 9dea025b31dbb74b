"""A synthetic data set of short clips in the layout of `train prepare`, and small start weights that fit it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import numpy as np
import torch

from echomimic.checkpoints import Geometry, checksum
from echomimic.data import demo_portrait, demo_voice
from echomimic.diffusion.networks import empty_networks
from echomimic.diffusion.small import LinearCodec, MelSpeech
from echomimic.media import read_picture, read_speech, sound_blocks, speech_from_samples
from echomimic.mesh.engine import MeshEngine
from echomimic.motion import save_motion
from echomimic.options import make_options
from echomimic.presets import find_preset
from echomimic.train.diffusion.export import export_networks
from echomimic.train.diffusion.manifest import Checksums, Row, Source, write_rows
from echomimic.train.diffusion.rights import Consent, Rights
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import Trainee
from echomimic.types import Floats, Motion, Picture

SIDE, FPS, COUNT = 64, 24.0, 30
GEOMETRY = Geometry(
    channels=(32, 32), layers=1, heads=2, motion_heads=2, audio_dim=88, encoder_widths=(4, 4, 4, 4), groups=8
)
ONE_LEVEL = replace(GEOMETRY, channels=(32,))
"""For runs whose time goes with the number of tensors. It has attention in the middle only."""


def write_clip_file(path: Path, frames: Sequence[Picture], key_frames: int = 12) -> None:
    """Encode frames as `train prepare` does: H.264 with a key frame every 12 frames, without sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "8", "g": str(key_frames)})
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def write_sound_file(path: Path, samples: Floats) -> None:
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_row(folder: Path, name: str, split: str = "train", consent: Consent = "written", **values: object) -> Row:
    """The row of a clip whose files are written already."""
    paths = {part: f"clips/{name[:2]}/{name}{end}" for part, end in (("clip", ".mp4"), ("sound", ".flac"))}
    paths["track"] = f"clips/{name[:2]}/{name}.npz"
    sums = Checksums(**{part: checksum(folder / path) for part, path in paths.items()})
    given = {
        "kind": "face",
        "source": Source("made.mp4", "0" * 64),
        "rights": Rights("CC0-1.0", consent, subject=name),
        "settings": "test",
        "checksums": sums,
        "frames": COUNT,
        "fps": FPS,
        "size": (SIDE, SIDE),
        "split": split,
        **paths,
        **values,
    }
    return Row(id=name, **given)  # type: ignore[arg-type]


@cache
def _spoken_clip(number: int) -> tuple[list[Picture], Floats, Motion]:
    """The demo's portrait saying one part of the demo's voice: frames, sound and motion."""
    length = round(COUNT / FPS * 16_000)
    voice = np.concatenate([*sound_blocks(read_speech(demo_voice()), 16_000)])
    sound = voice[number * length : (number + 1) * length]
    options = make_options(
        {"fps": FPS, "size": SIDE, "framing": "crop", "crop_margin": 0.15, "workers": 1, "frames": COUNT}
    )
    render = MeshEngine().prepare(read_picture(demo_portrait()), speech_from_samples(sound, 16_000), None, options)
    return [*render.frames()], sound, render.motion


def make_data(folder: Path, names: Sequence[str] = ("aa01", "bb02", "cc03"), consent: Consent = "written") -> Path:
    """Render clips with the mesh engine, one for each name, the last for validation."""
    rows = []
    for number, name in enumerate(names):
        frames, sound, motion = _spoken_clip(number)
        place = folder / "clips" / name[:2]
        place.mkdir(parents=True, exist_ok=True)
        write_clip_file(place / f"{name}.mp4", frames)
        write_sound_file(place / f"{name}.flac", sound)
        save_motion(place / f"{name}.npz", motion)
        rows.append(make_row(folder, name, "val" if number == len(names) - 1 else "train", consent))
    write_rows(folder / "manifest.jsonl", rows)
    return folder


def make_start(folder: Path, preset: str = "v1", seed: int = 0, geometry: Geometry = GEOMETRY) -> Path:
    """Small random networks under the published names, with a linear codec, as a start of training."""
    torch.manual_seed(seed)
    found = find_preset(preset)
    networks = empty_networks(1 if found.conditioning == "mask" else 3, geometry)
    trainee = Trainee(networks.denoising, networks.reference, networks.condition, NoiseSchedule.of_inference())
    codec = LinearCodec.fit(torch.rand(8, 3, SIDE, SIDE) * 2 - 1)
    others = {"vae": codec, "speech": MelSpeech()}
    export_networks(trainee, {}, found, folder, geometry=geometry, others=others, dtype=torch.float32)
    return folder


def run_arguments(data: Path, start: Path, output: Path, *extra: str) -> list[str]:
    """Arguments of `echomimic` for a run of 4 steps on the synthetic data."""
    values = (
        *(f"data.size={SIDE}", "data.frames=6", "data.reference_distance=6", f"model.start={start}"),
        *("optimizer.batch=2", "optimizer.warmup=2", "optimizer.rate=1e-3", "run.precision=float32"),
        *("run.workers=0", "run.checkpoint_every=2", "run.steps=4", "run.gradient_checkpointing=false"),
        *("run.alarm_every=0", "run.validate_every=0", "loss.perceptual=gradients", "optimizer.accumulate=1"),
    )
    sets = [part for value in values for part in ("--set", value)]
    return ["train", "run", "v1-finetune", "-o", str(output), "--data", str(data), *sets, *extra]
