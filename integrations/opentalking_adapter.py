"""An OpenTalking model that needs no GPU: copy this file to `opentalking/models/echomimic/adapter.py`, and import it in
`ensure_models_imported` of `opentalking/models/registry.py`.

OpenTalking plays the sound itself, chunk by chunk, so a chunk's frames are drawn from that chunk and what came before
it: the network can look ahead only to the end of a chunk. Chunks of half a second or more look best.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from opentalking.core.types.frames import AudioChunk, VideoFrameData
from opentalking.models.registry import register_model

from echomimic import Options, read_picture
from echomimic.media import sound_blocks, speech_from_samples
from echomimic.mesh.engine import MeshEngine
from echomimic.mesh.live_idle import IdleStream
from echomimic.mesh.speech_to_face import SAMPLE_RATE, predict_mouth
from echomimic.types import CURVE_NAMES, MOUTH_CURVES

FPS, CONTEXT = 25, 3.0
"""Frames a second, and seconds of sound before a chunk that the network analyzes again."""
MOUTH = [CURVE_NAMES.index(name) for name in MOUTH_CURVES]


@dataclass
class AvatarState:
    """A prepared portrait, its idle motion, and the last seconds of its voice."""

    scene: Any
    idle: IdleStream
    past: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


@register_model("echomimic")
class EchoMimicAdapter:
    """The mesh engine as a ModelAdapter."""

    model_type = "echomimic"

    def load_model(self, device: str = "cpu") -> None:
        """Nothing to load."""

    def load_avatar(self, avatar_path: str) -> AvatarState:
        """Prepare reference.png or the like of an avatar's folder."""
        portrait = read_picture(min(Path(avatar_path).glob("reference.*")))
        scene = MeshEngine().prepare_portrait(portrait, Options(size=512)).scene
        return AvatarState(scene, IdleStream(FPS))

    def warmup(self) -> None:
        """Nothing to warm up."""

    def extract_features(self, audio_chunk: AudioChunk) -> np.ndarray:
        """(n,) 16 kHz samples of a chunk."""
        samples = np.asarray(audio_chunk.data, np.int16).reshape(-1) / np.float32(32768)
        if audio_chunk.sample_rate == SAMPLE_RATE:
            return samples
        return np.concatenate(list(sound_blocks(speech_from_samples(samples, audio_chunk.sample_rate), SAMPLE_RATE)))

    def infer(self, features: np.ndarray, avatar_state: AvatarState) -> list[np.ndarray]:
        """Rows of curves, one per frame of the chunk."""
        count = max(1, round(len(features) * FPS / SAMPLE_RATE))
        sound = np.concatenate([avatar_state.past, features])[-round(CONTEXT * SAMPLE_RATE) - len(features) :]
        before = (len(sound) - len(features)) * FPS // SAMPLE_RATE
        mouth = predict_mouth([sound, np.zeros(SAMPLE_RATE // 2, np.float32)], before + count, FPS)[before:]
        avatar_state.past = sound
        rows = []
        for shape in mouth:
            row = avatar_state.idle.row(float(shape.max() > 0.05))
            row[MOUTH] = shape
            rows.append(row)
        return rows

    def compose_frame(self, avatar_state: AvatarState, frame_idx: int, prediction: np.ndarray) -> VideoFrameData:
        """The picture of a row, BGR."""
        picture = avatar_state.scene.frame(prediction)
        height, width = picture.shape[:2]
        return VideoFrameData(np.ascontiguousarray(picture[..., ::-1]), width, height, frame_idx * 1000 / FPS)

    def idle_frame(self, avatar_state: AvatarState, frame_idx: int) -> VideoFrameData:
        """The face while nobody speaks."""
        return self.compose_frame(avatar_state, frame_idx, avatar_state.idle.row())
