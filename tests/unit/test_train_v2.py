"""Training V2: audio masks, drawn poses, the curriculum."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from echomimic.diffusion.condition_images import POSE_PARTS, draw_hands, draw_pose
from echomimic.errors import MotionError, OptionError
from echomimic.train.diffusion.curriculum import check_curriculum, drops_pose, is_headshot, state_at
from echomimic.train.diffusion.masks import area_mask, blended_mask, face_points, head_mask, lips_mask
from echomimic.train.diffusion.settings import TrainSettings, make_settings
from echomimic.types import LandmarkTrack
from helpers.half_body import synthetic_pose
from helpers.training_samples import FRAMES, SIDE, make_trainee, small_batch

CURRICULUM = {
    "run": {"steps": 40},
    "curriculum": {
        "phases": [
            {"name": "b0", "steps": 10, "parts": POSE_PARTS, "audio": ["lips", "lips"], "pose_drop": [0.0, 0.2]},
            {
                "name": "b1",
                "steps": 10,
                "parts": ["body", "head", "hands"],
                "audio": ["lips", "head"],
                "blend_steps": 5,
                "pose_drop": [0.2, 0.2],
            },
            {"name": "b2", "steps": 10, "parts": ["body", "hands"], "audio": ["head", "all"], "blend_steps": 5},
            {"name": "b3", "steps": 10, "headshots": 0.2},
        ]
    },
}


def _velocity(mask: Tensor | None, keep_audio: float = 1.0) -> Tensor:
    keep = torch.tensor([[keep_audio, 1.0, 1.0]])
    with torch.no_grad():
        return make_trainee()(replace(small_batch(1), audio_mask=mask, keep=keep))[1]


def test_audio_masks_lie_between_silence_and_speech() -> None:
    speech, silence = _velocity(None), _velocity(None, keep_audio=0)
    ones = torch.ones(1, FRAMES, 1, SIDE, SIDE)
    assert torch.equal(_velocity(ones), speech)
    assert torch.allclose(_velocity(ones * 0), silence, atol=1e-6)
    half = ones.clone()
    half[..., : SIDE // 2] = 0
    assert not torch.allclose(_velocity(half), speech, atol=1e-4)
    assert not torch.allclose(_velocity(half), silence, atol=1e-4)


def test_a_mask_acts_where_it_is_and_is_pooled_by_area() -> None:
    trainee, seen = make_trainee(), list[Tensor]()
    for layer in trainee.denoising.modules():
        if hasattr(layer, "attn2"):
            layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[4]))
    mask = torch.rand(1, FRAMES, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        trainee(replace(small_batch(1), audio_mask=mask, keep=torch.ones(1, 3)))
    assert {tensor.shape[1] for tensor in seen} == {SIDE * SIDE, SIDE * SIDE // 4}
    for tensor in seen:
        assert torch.allclose(tensor.mean(dim=1), mask[0].mean(dim=(2, 3)), atol=1e-6)


def test_masks_of_lips_and_head() -> None:
    lips = np.array([(0.4, 0.6), (0.5, 0.55), (0.6, 0.6), (0.5, 0.65)], np.float32)
    face = np.array([(0.3, 0.3), (0.7, 0.7)], np.float32)
    mouth, head = lips_mask(lips, (48, 32)), head_mask(face, (48, 32))
    assert mouth.shape == head.shape == (48, 32)
    area = 0.2 * 0.1 / 2 * 1.3**2
    assert float(mouth.mean()) == pytest.approx(area, rel=0.05)
    assert float(head.mean()) == pytest.approx(0.4 * 1.4 * 0.2 * (1.4 + 1.6), rel=0.05)
    rows = np.flatnonzero(head[:, 16] > 0.5) / 48
    assert rows[0] == pytest.approx(0.5 - 1.6 * 0.2, abs=0.03) and rows[-1] == pytest.approx(0.78, abs=0.03)
    assert (head[mouth > 0] > 0.9).all() and not mouth[:20].any()


def test_blended_masks_and_tracks() -> None:
    pose = synthetic_pose(2)
    points = face_points(pose, 0)
    lips, head = (area_mask(area, points, (8, 8)) for area in ("lips", "head"))
    assert np.allclose(blended_mask("lips", "head", 0.25, points, (8, 8)), 0.75 * lips + 0.25 * head, atol=1e-6)
    assert not area_mask("off", points, (8, 8)).any() and area_mask("all", points, (8, 8)).all()
    gone = replace(pose, face=np.zeros_like(pose.face))
    assert face_points(gone, 0) is None and area_mask("lips", None, (8, 8)).all()
    landmarks = np.random.default_rng(0).uniform(100, 200, (1, 478, 3)).astype(np.float32)
    found = face_points(LandmarkTrack(landmarks, (400, 400), 24, np.ones(1, bool)), 0)
    assert found is not None and found[0].min() >= 0.25 and found[0].max() <= 0.5


def test_poses_are_drawn_by_parts() -> None:
    pose, size = synthetic_pose(3), (320, 256)
    drawn = {part: draw_pose(pose, 1, size, (part,)) for part in POSE_PARTS}
    np.testing.assert_array_equal(drawn["hands"], draw_hands(pose.hands[1], size=size))
    whole = draw_pose(pose, 1, size)
    assert whole.shape == (256, 320, 3) and not draw_pose(pose, 1, size, ()).any()
    for part, picture in drawn.items():
        assert picture.any(), part
        others = draw_pose(pose, 1, size, [other for other in POSE_PARTS if other != part])
        assert (others != whole).any(), part
    assert drawn["body"].max() <= 153 < drawn["lips"].max()
    lips = drawn["lips"].reshape(-1, 3)
    assert (lips[:, :1] == lips).all()
    unseen = replace(
        pose, body=pose.body * np.array([1, 1, 0], np.float32), face=pose.face * np.array([1, 1, 0], np.float32)
    )
    np.testing.assert_array_equal(draw_pose(unseen, 1, size), drawn["hands"])
    with pytest.raises(MotionError, match="feet"):
        draw_pose(pose, 0, size, ("feet",))


def _curriculum() -> TrainSettings:
    return make_settings(CURRICULUM)


def test_the_curriculum_at_every_boundary() -> None:
    settings = _curriculum()
    check_curriculum(settings)
    wanted = {  # step: phase, parts, where the voice is heard
        0: ("b0", POSE_PARTS, ("lips", "lips", 1.0), 0.0),
        9: ("b0", POSE_PARTS, ("lips", "lips", 1.0), 0.18),
        10: ("b1", ("body", "head", "hands"), ("lips", "head", 0.0), 0.2),
        14: ("b1", ("body", "head", "hands"), ("lips", "head", 0.8), 0.2),
        15: ("b1", ("body", "head", "hands"), ("lips", "head", 1.0), 0.2),
        19: ("b1", ("body", "head", "hands"), ("lips", "head", 1.0), 0.2),
        20: ("b2", ("body", "hands"), ("head", "all", 0.0), 0.0),
        25: ("b2", ("body", "hands"), ("head", "all", 1.0), 0.0),
        30: ("b3", ("hands",), ("all", "all", 1.0), 0.0),
        99: ("b3", ("hands",), ("all", "all", 1.0), 0.0),
    }
    for step, (phase, parts, audio, drop) in wanted.items():
        state = state_at(settings.curriculum, step)
        assert (state.phase, state.parts) == (phase, parts), step
        assert (state.small, state.large, state.mix) == audio, step
        assert state.pose_drop == pytest.approx(drop), step
    with pytest.raises(OptionError, match="40 steps, the run has 41"):
        check_curriculum(make_settings(CURRICULUM, ["run.steps=41"]))


def test_phases_are_checked() -> None:
    with pytest.raises(OptionError, match=r"curriculum.phases.0.parts"):
        make_settings({"curriculum": {"phases": [{"name": "x", "steps": 1, "parts": ["feet"]}]}})


def test_headshots_and_dropped_poses_are_counted_out() -> None:
    for fraction in (0.0, 0.3, 0.5, 1.0):
        for step in range(30):
            count = sum(is_headshot(0, n, 10, fraction) for n in range(10 * step, 10 * step + 10))
            assert abs(count - 10 * fraction) <= 1
    assert not any(is_headshot(0, n, 10, 0.0) for n in range(100))
    dropped = sum(drops_pose(0, n, 0.2) for n in range(5_000))
    assert abs(dropped - 1_000) < 4 * np.sqrt(5_000 * 0.2 * 0.8)
