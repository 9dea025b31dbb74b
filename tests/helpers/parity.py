"""Replay recorded runs of the published pipelines: `python -m tests.helpers.parity DIR --weights FILE`.

A case is a `.safetensors` with a `.json` beside it that names the pipeline, its configuration and its arguments; one
line is printed for each: name, largest difference of the final latents, pass or fail. Recorded single calls of the
networks are replayed too. Weights are found by the name in the case: in FILE, in DIR, or beside FILE.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from echomimic.diffusion.attention import UNetConfig
from echomimic.diffusion.autoencoder import Autoencoder, VaeConfig
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.denoise import Conditions, Denoiser, SamplingConfig
from echomimic.diffusion.networks import load_strictly, on_meta
from echomimic.diffusion.schedule import Sampler, first_noise
from echomimic.diffusion.unet import UNet
from echomimic.diffusion.vae import SCALE, encode_picture
from echomimic.diffusion.whisper import windows_of_frames

TOLERANCE = 1e-4
Facts = dict[str, Any]


def unet_config(config: Facts, *, reference: bool) -> UNetConfig:
    """Our configuration from one of diffusers."""
    motion = config.get("motion_module_kwargs") or {}
    heads = config.get("num_attention_heads") or config.get("attention_head_dim", 8)
    return UNetConfig(
        channels=tuple(config["block_out_channels"]),
        layers=config["layers_per_block"],
        heads=heads if isinstance(heads, int) else heads[0],
        motion_heads=motion.get("num_attention_heads", 8),
        groups=config["norm_num_groups"],
        in_channels=config["in_channels"],
        audio_dim=None if reference else config["cross_attention_dim"],
        motion=not reference and config.get("use_motion_module", True),
        max_frames=motion.get("temporal_position_encoding_max_len", 32),
        head=not reference,
    )


class Weights:
    """A stored model: every module is built when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.configs: Facts = json.loads(path.with_suffix(".json").read_text())["configs"]

    def has(self, prefix: str) -> bool:
        """Whether the file holds a module under this prefix."""
        with safe_open(self.path, "pt") as file:
            return any(name.startswith(prefix + ".") for name in file.keys())  # noqa: SIM118 - not a dict

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under a prefix, without it."""
        with safe_open(self.path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix + ".")]  # noqa: SIM118
            return {name.removeprefix(prefix + "."): file.get_tensor(name) for name in names}

    def _unet(self, name: str) -> UNet:
        config = unet_config(self.configs[name], reference=name == "reference_unet")
        return load_strictly(on_meta(lambda: UNet(config)), self.tensors(name), f"{self.path.name}: {name}")

    @cached_property
    def unet(self) -> UNet:
        return self._unet("denoising_unet")

    @cached_property
    def reference(self) -> UNet:
        return self._unet("reference_unet")

    def encoder(self, name: str) -> ConditionEncoder:
        """The condition encoder under this prefix."""
        locators = self.configs.get("face_locators", {})
        config = self.configs.get(name) or locators[name.removeprefix("face_locator_")]
        widths = tuple(config["block_out_channels"])
        channels, out = config["conditioning_channels"], config["conditioning_embedding_channels"]
        made = on_meta(lambda: ConditionEncoder(channels, out, widths))
        return load_strictly(made, self.tensors(name), f"{self.path.name}: {name}")

    @cached_property
    def vae(self) -> torch.nn.Module:
        names = ("block_out_channels", "layers_per_block", "norm_num_groups")
        config = VaeConfig(*(self.configs["vae"][name] for name in names))
        return load_strictly(Autoencoder(config), self.tensors("vae"), f"{self.path.name}: vae")


def encoder_name(facts: Facts) -> str:
    """The prefix of the case's condition encoder."""
    if "v2" in facts["pipeline"].lower():
        return "pose_encoder"
    return facts.get("face_locator") or ("face_locator_pose" if is_pose(facts) else "face_locator_audio")


def is_pose(facts: Facts) -> bool:
    """Whether drawn pictures drive the pipeline, and not a mask."""
    return "pose" in facts["pipeline"].lower() or "v2" in facts["pipeline"].lower()


def portrait_latents(case: dict[str, Tensor], facts: Facts, weights: Weights) -> Tensor:
    """The portrait's scaled latents: as recorded, else encoded by the model's own autoencoder."""
    if "ref_image_latents_mean_unscaled" in case:
        return case["ref_image_latents_mean_unscaled"] * SCALE
    image = Image.fromarray(case["ref_image_rgb_u8"].numpy())
    image = image.resize((facts["width"], facts["height"]), Image.Resampling.LANCZOS)
    return encode_picture(weights.vae, np.asarray(image))


def noise_of(case: dict[str, Tensor], facts: Facts) -> Tensor:
    """The first noise (frames, 4, h, w): as recorded, else drawn."""
    if "initial_latents" in case:
        return case["initial_latents"][0].transpose(0, 1)
    frames = min(facts["L"], len(case.get("audio_chunks", case["audio_feature"])))
    clamp = None if is_pose(facts) and "v2" not in facts["pipeline"].lower() else 1.5
    return first_noise(frames, facts["height"] // 8, facts["width"] // 8, facts["seed"], clamp)


def speech_of(case: dict[str, Tensor], facts: Facts, frames: int) -> Tensor:
    """The speech tokens of each frame (frames, 50, 384), by our own windows if the features are recorded."""
    if "audio_feature" in case:
        return windows_of_frames(case["audio_feature"], range(frames), facts["fps"])
    return case["audio_chunks"][:frames]


def sampling_config(facts: Facts) -> SamplingConfig:
    """The original's own: closed windows, and overlap that its first pipelines forget to divide without guidance."""
    return SamplingConfig(
        steps=facts["num_inference_steps"],
        guidance_scale=facts["guidance_scale"],
        size=facts.get("context_frames", 12),
        overlap=facts.get("context_overlap", 3),
        stride=facts.get("context_stride", 1),
        shift=3 if is_pose(facts) else 2,
        windows="closed",
        divide=facts["guidance_scale"] > 1 or "_acc" in facts["pipeline"].lower(),
    )


def replay_run(case: dict[str, Tensor], facts: Facts, weights: Weights) -> float:
    """The largest difference between our final latents and the recorded ones."""
    noise = noise_of(case, facts)
    audio = speech_of(case, facts, len(noise)).float()
    pictures = case["conditioning"][0].transpose(0, 1)
    pictures = pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures.float()
    encoder = weights.encoder(encoder_name(facts))
    portrait = weights.unet.project(weights.reference.features(portrait_latents(case, facts, weights)))
    features = encoder(pictures)

    def conditions(frames: Sequence[int]) -> Conditions:
        return Conditions(audio[frames], features if len(features) == 1 else features[frames], portrait)

    config = sampling_config(facts)
    if "timesteps" in case and case["timesteps"].tolist() != Sampler("ddim", config.steps).timesteps:
        raise ValueError("the recorded timesteps are not those of this number of steps")
    *_, latents = Denoiser(weights.unet, conditions, config, torch.float32).run(noise)
    theirs = case.get("bank32.final_latents", case["final_latents"])
    return float((latents - theirs[0].transpose(0, 1)).abs().max())


def replay_call(case: dict[str, Tensor], facts: Facts, weights: Weights) -> float:
    """The largest difference over recorded single calls of the network, with guidance and without."""
    portrait = weights.unet.project(weights.reference.features(case["ref_latents_scaled"]))

    def call(suffix: str, half: int, t: int) -> Tensor:
        sample, audio, face = (case[name + suffix][half] for name in ("sample", "audio", "face"))
        conditional = (audio, face.transpose(0, 1), portrait) if half or suffix else (None, None, None)
        return weights.unet(sample.transpose(0, 1), torch.tensor([t]), *conditional).transpose(0, 1)

    calls = {"cfg.out.bank32": ("", facts["timestep"]), "nocfg.out.bank32": ("_c", facts["timestep"])}
    calls |= {
        name: ("", int(name[5:-11])) for name in case if name.startswith("cfg.t") and name.endswith(".out.bank32")
    }
    return max(
        float((call(suffix, half, t) - theirs).abs().max())
        for name, (suffix, t) in calls.items()
        if name in case
        for half, theirs in enumerate(case[name])
    )


def find_weights(facts: Facts, folder: Path, given: Sequence[Path], cache: dict[Path, Weights]) -> Weights:
    """The model that a case was recorded with."""
    name = facts["weights"]
    named = [path for path in given if path.stem == name]
    named += [place / f"{name}.safetensors" for place in (folder, *(path.parent for path in given))]
    prefix = encoder_name(facts) if "pipeline" in facts else "denoising_unet"
    for path in [path for path in named if path.is_file()] + list(given):
        weights = cache.setdefault(path.resolve(), Weights(path))
        if weights.has(prefix):
            return weights
    raise FileNotFoundError(f"no weights {name}.safetensors with {prefix}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay every case of a folder; 1 if any fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.helpers.parity", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--weights", type=Path, action="append", default=[], metavar="FILE", help="may be repeated")
    parsed = parser.parse_args(arguments)
    cache: dict[Path, Weights] = {}
    ran, failed = 0, 0
    for path in sorted(parsed.folder.glob("*.json")):
        facts = json.loads(path.read_text())
        replay = replay_run if "pipeline" in facts else replay_call if "timestep" in facts else None
        stored = path.with_suffix(".safetensors")
        if replay is None or "weights" not in facts or not stored.is_file():
            continue
        try:
            with torch.inference_mode():
                difference = replay(load_file(stored), facts, find_weights(facts, parsed.folder, parsed.weights, cache))
            line, passed = f"{difference:.2e}", difference <= TOLERANCE
        except Exception as error:  # a case that cannot be replayed has failed; the others still run
            line, passed = f"{type(error).__name__}: {error}", False
        print(f"{path.stem}  {line}  {'pass' if passed else 'FAIL'}", flush=True)
        ran, failed = ran + 1, failed + (not passed)
    if not ran:
        print(f"no cases in {parsed.folder}", file=sys.stderr)
    return int(failed > 0 or not ran)


if __name__ == "__main__":
    sys.exit(main())
