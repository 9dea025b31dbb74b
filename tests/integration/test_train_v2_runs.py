"""V2 from run to run as a user trains it: each phase starts from the export of the one before, and the end renders."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from echomimic.apps.cli.train import app
from echomimic.data import demo_voice
from echomimic.diffusion.engine import DiffusionEngine
from echomimic.landmarks.body import Body
from echomimic.media import read_picture, read_speech
from echomimic.options import make_options
from echomimic.presets import find_preset
from echomimic.train.diffusion.reader import save_reader
from helpers.half_body import draw_person, make_half_data, small_reader, synthetic_pose
from helpers.training_data import make_data, make_start

SMALL = (
    *("data.size=64", "optimizer.batch=2", "optimizer.warmup=1", "run.precision=float32", "run.workers=0"),
    *("run.gradient_checkpointing=false", "run.alarm_every=0", "run.validate_every=0", "phase_loss.crop=4"),
    *("phase_loss.distance=gradients", "optimizer.ema_every=1", "data.reference_distance=2"),
)


def _phases(*phases: str) -> tuple[str, ...]:
    return (f"curriculum.phases=[{', '.join(phases)}]", f"run.steps={len(phases)}")


def _train(preset: str, folder: Path, *sets: str) -> Path:
    """Train and export; return the folder of the export."""
    given = [part for value in (*SMALL, *sets) for part in ("--set", value)]
    arguments = ["run", preset, "-o", str(folder / preset), "--data", str(folder / "half"), *given]
    for words in (arguments, ["export", str(folder / preset), "-o", str(folder / f"{preset}-weights")]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    return folder / f"{preset}-weights"


def test_the_phases_of_v2_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pose = synthetic_pose(1)  # the made person is a drawing, in which no body is found
    body = Body(pose.body[0], pose.hands[0], pose.face[0])
    monkeypatch.setattr("echomimic.diffusion.conditioning.find_body", lambda portrait: body)
    make_half_data(tmp_path / "half")
    make_data(tmp_path / "heads", ("aa01", "bb02"))
    v1 = make_start(tmp_path / "v1-start", "v1")
    save_reader(small_reader(), tmp_path / "reader.safetensors")
    whole = 'parts = ["body", "head", "lips", "hands"]'
    silent = f'{{name = "a", steps = 1, {whole}, audio = ["off", "off"]}}'
    motion = next(v1.rglob("motion_module.safetensors"))
    a0 = _train("v2-a0", tmp_path, f"model.start={v1}", *_phases(silent))
    a1 = _train(
        "v2-a1", tmp_path, f"model.start={a0}", f"model.motion_module={motion}", "data.frames=4", *_phases(silent)
    )
    b = _train(
        "v2-b",
        tmp_path,
        *(f"model.start={a1}", f"data.headshots={tmp_path / 'heads'}", "data.frames=4"),
        *_phases(
            f'{{name = "b0", steps = 1, {whole}, audio = ["lips", "lips"], headshots = 0.5}}',
            '{name = "b3", steps = 1, headshots = 0.5}',
        ),
    )
    reader = f"phase_loss.reader={tmp_path / 'reader.safetensors'}"
    c = _train("v2-c", tmp_path, f"model.start={b}", reader, "data.frames=4", *_phases('{name = "c", steps = 1}'))
    names = {path.relative_to(c).as_posix() for path in c.rglob("*.safetensors")}
    assert {"v2/denoising_unet.safetensors", "v2/motion_module.safetensors", "v2/pose_encoder.safetensors"} <= names
    reference = [load_file(folder / "v2" / "reference_unet.safetensors") for folder in (a0, c)]
    assert all(bool((reference[0][name] == reference[1][name]).all()) for name in reference[0]), "frozen from a1 on"
    frames = _render(c, tmp_path)
    assert frames.shape == (6, 64, 64, 3) and frames.std() > 0


def _render(weights: Path, folder: Path) -> npt.NDArray[np.uint8]:
    track = synthetic_pose(6)
    Image.fromarray(draw_person(track, 64)[0]).save(folder / "portrait.png")
    options = make_options(
        {**find_preset("v2").defaults, "size": 64, "steps": 2, "frames": 6, "fps": 24, "context_frames": 4}
        | {"context_overlap": 1, "dtype": "float32"}
    )
    engine = DiffusionEngine(find_preset("v2"), weights=weights, device="cpu")
    render = engine.prepare(read_picture(folder / "portrait.png"), read_speech(demo_voice()), track, options)
    return np.stack(list(render.frames()))
