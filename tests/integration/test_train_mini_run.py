"""A whole mini in miniature: clips of the bundled voice, training, export, and the ordinary engine renders it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from echomimic.apps.cli.main import run
from echomimic.checkpoints import Geometry
from echomimic.data import demo_portrait, demo_voice
from echomimic.media import read_picture, read_speech, read_video, sound_blocks
from echomimic.mesh.engine import MeshEngine
from echomimic.presets import resolve_preset
from echomimic.train.diffusion import mini_hands
from echomimic.train.diffusion.mini import train_mini
from echomimic.train.diffusion.mini_data import SIDE, MiniClip, render_clip
from echomimic.train.diffusion.mini_evaluation import CASES, Evaluator, Faces
from echomimic.types import Portrait

GEOMETRY = Geometry(channels=(32,), layers=1, heads=4, motion_heads=4, audio_dim=88, encoder_widths=(4, 4, 8, 8))
STEPS = 45


def clips_of(portrait: Portrait, framing: str = "crop", length: int = 40_000) -> list[MiniClip]:
    """The bundled voice in two pieces, said by the portrait."""
    sound = np.concatenate(list(sound_blocks(read_speech(demo_voice()), 16_000)))
    engine = MeshEngine()
    pieces = (sound[:length], sound[length : 2 * length])
    return [render_clip(engine, portrait, piece, seed, framing) for seed, piece in enumerate(pieces)]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[MiniClip], list[float]]:
    """Weights, the clips, and the losses."""
    torch.set_num_threads(1)
    clips, losses = clips_of(read_picture(demo_portrait())), list[float]()
    folder = tmp_path_factory.mktemp("mini")
    weights = train_mini(
        clips, folder, STEPS, geometry=GEOMETRY, report=lambda record: losses.append(float(str(record["loss"])))
    )
    return weights, clips, losses


def test_the_loss_falls_by_a_quarter(trained: tuple[Path, list[MiniClip], list[float]]) -> None:
    _, _, losses = trained
    assert len(losses) == STEPS
    assert np.mean(losses[:3]) > 0.7
    assert np.mean(losses[-10:]) < min(0.65, 0.75 * np.mean(losses[:3]))


def test_a_mini_that_was_stopped_after_training_is_not_trained_again(
    trained: tuple[Path, list[MiniClip], list[float]],
) -> None:
    weights, clips, _ = trained
    more, before = list[dict[str, object]](), weights.stat().st_mtime_ns
    again = train_mini(clips, weights.parent, STEPS, geometry=GEOMETRY, resume=True, report=more.append)
    assert again == weights and not more and weights.stat().st_mtime_ns == before


def test_the_engine_renders_what_was_trained(trained: tuple[Path, list[MiniClip], list[float]]) -> None:
    weights, clips, _ = trained
    preset, _ = resolve_preset("v1-landmarks", weights=weights)
    assert preset.defaults["size"] == SIDE
    evaluator = Evaluator(weights, preset, [read_picture(demo_portrait())], Faces(clips), steps=3)
    figures = evaluator.measure(CASES[2], clips[:1], seeds=(0,))
    assert evaluator.ceiling(clips)["mouth"] > 0.9
    frames = evaluator.render(clips[0], clips[1], CASES[0])
    assert frames.shape == clips[0].frames.shape
    assert figures.identity == 1 and -1 <= figures.mouth <= 1
    error = np.abs(frames.astype(int) - clips[0].frames).mean()
    assert error < 60  # the portrait, not noise


def test_the_command_animates_with_the_weights(
    trained: tuple[Path, list[MiniClip], list[float]], tmp_path: Path
) -> None:
    weights, _, _ = trained
    video = tmp_path / "said.mp4"
    command = ["animate", str(demo_portrait()), str(demo_voice()), "-o", str(video), "--steps", "2", "--frames", "9"]
    assert run([*command, "--weights", str(weights), "--preset", "v1-landmarks"]) == 0
    assert len(list(read_video(video).frames())) == 9


def test_a_half_body_with_a_hand_trains_and_renders(tmp_path: Path) -> None:
    body = mini_hands.half_body(read_picture(demo_portrait()))
    clips = [mini_hands.with_hand(c, np.random.default_rng(n)) for n, c in enumerate(clips_of(body, "full", 16_000))]
    weights = train_mini(clips, tmp_path, 3, preset="v2", geometry=GEOMETRY)
    preset, _ = resolve_preset("v2", weights=weights)
    evaluator = Evaluator(weights, preset, [mini_hands.resting_portrait(body)], Faces(clips), steps=2)
    figures = evaluator.measure(CASES[0], clips[:1], seeds=(0,))
    assert figures.wrist is not None and -1 <= figures.wrist <= 1
