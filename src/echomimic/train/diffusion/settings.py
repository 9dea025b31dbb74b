"""Settings of a training run: frozen dataclasses, read from TOML, each field overridable as `group.field=value`."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from echomimic.errors import OptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_CONFIG = ConfigDict(extra="forbid")
_PRESETS = Path(__file__).with_name("presets")
Variant = Literal["mask", "landmarks", "hands"]
PosePart = Literal["body", "head", "lips", "hands"]
Hearing = Literal["off", "lips", "head", "all"]
Trained = Literal["picture", "motion", "motion+audio", "denoising", "all", "pose-picture", "pose-video", "attention"]


@dataclass(frozen=True, config=_CONFIG)
class DataSettings:
    """`path` is a folder that `train prepare` wrote; a sample has `frames` consecutive frames (1: pictures).

    `headshots` is a folder of faces that the curriculum of V2 mixes with half bodies. `reference_distance` is the
    smallest distance in frames between the reference picture and the sample's frames. The mask of the face is grown by
    a fraction between the two values of `mask_margin`. `cached_latents` encodes all clips once, before the first step,
    into `cache/latents` of the data set; `cached_speech` keeps speech features in `cache/speech`.
    """

    path: str = ""
    headshots: str = ""
    size: int = 512
    frames: int = 12
    reference_distance: int = 12
    mask_margin: tuple[float, float] = (0.05, 0.25)
    cached_latents: bool = False
    cached_speech: bool = False


@dataclass(frozen=True, config=_CONFIG)
class ModelSettings:
    """The trained networks, and the start values of their weights (see `starts`).

    `variant` is the condition picture; `trained` selects the trained parameters (see `trainee`). `start` is a folder of
    published checkpoints or of an export, and `start_preset` the preset in it, by default that of the variant; or
    `stable_diffusion` is a folder of Stable Diffusion 1.5 in the layout of diffusers. `motion_module` is a file of
    AnimateDiff v2, or "new"; by default the motion modules come from `start`.

    With `lora_rank` only a LoRA of that rank is trained, which shows the person `subject` of the data.
    """

    variant: Variant = "mask"
    trained: Trained = "motion+audio"
    start: str = ""
    start_preset: str = ""
    stable_diffusion: str = ""
    motion_module: str = ""
    lora_rank: int = 0
    lora_alpha: float = 32.0
    subject: str = ""


@dataclass(frozen=True, config=_CONFIG)
class LossSettings:
    """`weighting` of noise levels with its `floor`; `mouth` is the weight of the mouth's box in frames with speech.

    `spatial` is the weight of the loss on a decoded crop, at timesteps below `spatial_below` and from step
    `spatial_from`. Its `perceptual` part needs the package lpips; "gradients" compares image gradients instead.
    """

    weighting: Literal["min-snr", "v"] = "min-snr"
    gamma: float = 5.0
    floor: float = 0.05
    mouth: float = 3.0
    spatial: float = 0.0
    spatial_below: int = 700
    spatial_from: int = 0
    perceptual: Literal["lpips", "gradients", "none"] = "lpips"


@dataclass(frozen=True, config=_CONFIG)
class DropSettings:
    """Probabilities with which conditions are dropped: all three together, or one of them alone.

    `hands`, of V2, is the probability that a sample shows frames with few hands, if its clip has any, and draws none.
    """

    all: float = 0.05
    audio: float = 0.05
    reference: float = 0.05
    condition: float = 0.05
    hands: float = 0.0


@dataclass(frozen=True, config=_CONFIG)
class LandmarkSettings:
    """Random Landmark Selection: probabilities of drawing no region, all regions, or the selected ones of inference.

    The other samples draw each region of a face with probability `each`. With all regions drawn, the audio is dropped
    with `silent_with_all`. `jitter` is the fraction of samples whose drawn points are moved by a small similarity
    transform.
    """

    none: float = 0.10
    all: float = 0.15
    selected: float = 0.35
    each: float = 0.5
    silent_with_all: float = 0.5
    jitter: float = 0.3


@dataclass(frozen=True, config=_CONFIG)
class CurriculumPhase:
    """A phase of V2's training.

    Attributes:
        name: for the log.
        steps: length.
        parts: parts of the pose that are drawn.
        audio: the audio mask at the first step, and after `blend_steps`.
        pose_drop: probability of an empty condition picture at the first step and at the end.
        headshots: fraction of the samples that are headshots, padded to the canvas (Head Partial Attention).
    """

    name: str
    steps: int
    parts: tuple[PosePart, ...] = ("hands",)
    audio: tuple[Hearing, Hearing] = ("all", "all")
    blend_steps: int = 0
    pose_drop: tuple[float, float] = (0.0, 0.0)
    headshots: float = 0.0


@dataclass(frozen=True, config=_CONFIG)
class CurriculumSettings:
    """The phases of a run of V2, in order; none for V1."""

    phases: tuple[CurriculumPhase, ...] = ()


@dataclass(frozen=True, config=_CONFIG)
class DistilSettings:
    """Distillation into `steps` steps: phased consistency with `grid` points a step, or progressive (two into one).

    The teacher's guidance scale is drawn from the range `guidance`; `target_decay` is that of the target network's
    average, `huber` the factor of the loss's rounding.
    """

    kind: Literal["off", "consistency", "progressive"] = "off"
    steps: Annotated[int, Field(ge=1, le=100)] = 6
    grid: Annotated[int, Field(ge=1, le=100)] = 8
    guidance: tuple[float, float] = (1.5, 3.5)
    target_decay: Annotated[float, Field(ge=0, lt=1)] = 0.95
    huber: Annotated[float, Field(gt=0)] = 0.00054


@dataclass(frozen=True, config=_CONFIG)
class AudioSettings:
    """Probabilities of the effects of audio augmentation; each clip has `variants` augmented versions.

    `noise` at 5 to 25 dB, `gain` of up to 6 dB, `pitch` of up to 2 semitones, a `room`, a `codec`; `features` is the
    probability of Gaussian noise of 5 % of the spread of the speech features. None of them changes time.
    """

    variants: Annotated[int, Field(ge=1)] = 4
    noise: float = 0.5
    gain: float = 0.5
    pitch: float = 0.3
    room: float = 0.2
    codec: float = 0.2
    features: float = 0.2


@dataclass(frozen=True, config=_CONFIG)
class HeadshotSettings:
    """Where faces of half bodies are, as evenly spaced quantiles in fractions of the canvas: height, and middle.

    `train faces` measures them on a data set; the defaults are a guess for upper bodies with both hands in view.
    """

    heights: tuple[float, ...] = (0.15, 0.17, 0.185, 0.2, 0.22)
    across: tuple[float, ...] = (0.4, 0.47, 0.5, 0.53, 0.6)
    down: tuple[float, ...] = (0.18, 0.23, 0.26, 0.3, 0.36)


@dataclass(frozen=True, config=_CONFIG)
class PhaseLossSettings:
    """Weights of V2's Phase-specific Denoising loss on decoded crops.

    `pose` is for timesteps from `pose_from` on, `perceptual` for those below `perceptual_below`, `detail` for those
    between. `pose` needs the pose reader in the file `reader`, and grows from 0 over `pose_warmup` steps. `crop` is the
    side of a crop in latent cells. `distance` is "lpips", or "gradients", which needs no package and no network.
    """

    pose: float = 0.0
    detail: float = 0.0
    perceptual: float = 0.0
    pose_from: int = 900
    perceptual_below: int = 300
    pose_warmup: int = 5_000
    crop: int = 48
    reader: str = ""
    distance: Literal["lpips", "gradients"] = "lpips"

    @property
    def is_on(self) -> bool:
        """Whether any of the losses has a weight."""
        return max(self.pose, self.detail, self.perceptual) > 0


@dataclass(frozen=True, config=_CONFIG)
class OptimizerSettings:
    """AdamW with a constant learning rate after a linear warm-up; `batch` is the number of samples of a whole step.

    `ema` is the decay a step of the averaged weights, which are updated every `ema_every` steps.
    """

    kind: Literal["adamw", "adamw8bit"] = "adamw"
    rate: float = 1e-5
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 500
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2
    max_norm: float = 1.0
    batch: int = 32
    accumulate: int = 1
    ema: float = 0.9999
    ema_every: Annotated[int, Field(ge=1)] = 1


@dataclass(frozen=True, config=_CONFIG)
class RunSettings:
    """`steps` in total; a checkpoint every `checkpoint_every` steps, of which the newest `keep` and those of every
    `keep_every` steps are kept.

    Every `alarm_every` steps the gain by the voice is measured, every `validate_every` steps the loss at each noise
    level on `validation_samples` windows of validation clips, and `validation_clips` clips are rendered; 0 is never.
    """

    steps: int = 30_000
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    gradient_checkpointing: bool = True
    workers: int = 4
    checkpoint_every: int = 1_000
    keep: Annotated[int, Field(ge=1)] = 3
    keep_every: Annotated[int, Field(ge=1)] = 10_000
    alarm_every: int = 500
    validate_every: int = 1_000
    validation_samples: int = 64
    validation_clips: int = 4
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()


_WITHOUT_EFFECT = {
    "run": (
        *("workers", "checkpoint_every", "keep", "keep_every", "alarm_every", "validate_every", "validation_samples"),
        *("validation_clips", "trackers"),
    ),
    "data": ("path", "cached_speech"),
}
"""Settings that do not change the trained weights, by group."""


@dataclass(frozen=True, config=_CONFIG)
class TrainSettings:
    """All settings of a run."""

    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    drop: DropSettings = field(default_factory=DropSettings)
    landmarks: LandmarkSettings = field(default_factory=LandmarkSettings)
    curriculum: CurriculumSettings = field(default_factory=CurriculumSettings)
    distil: DistilSettings = field(default_factory=DistilSettings)
    audio: AudioSettings = field(default_factory=AudioSettings)
    headshots: HeadshotSettings = field(default_factory=HeadshotSettings)
    phase_loss: PhaseLossSettings = field(default_factory=PhaseLossSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    run: RunSettings = field(default_factory=RunSettings)

    def digest(self) -> str:
        """Hex digest of all settings that change the result: a run resumes only with the same digest."""
        values = asdict(self)
        for group, names in _WITHOUT_EFFECT.items():
            for name in names:
                values[group].pop(name)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_settings(path: Path, overrides: Sequence[str] = ()) -> TrainSettings:
    """Read a TOML file, or a preset by its name.

    A file may begin with `extends = "v1-stage1"` and then states only what differs from that preset. Raises OptionError
    for a missing file, an unknown key or a value of the wrong type.
    """
    values = _read_toml(preset_file(str(path)) or path)
    extended = values.pop("extends", None)
    if extended is not None:
        base = preset_file(str(extended))
        if base is None:
            raise OptionError(f"{path}: extends {extended!r}; expected one of {', '.join(preset_names())}")
        values = _merge(_read_toml(base), values)
    return make_settings(values, overrides, str(path))


def preset_names() -> list[str]:
    """Names of the settings that come with the package."""
    return sorted(path.stem for path in _PRESETS.glob("*.toml"))


def preset_file(name: str) -> Path | None:
    """The TOML file of a preset; None if there is none of this name."""
    return _PRESETS / f"{name}.toml" if name in preset_names() else None


def _merge(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Replace fields in the groups of `base` by those of `values`."""
    merged = dict(base)
    for group, fields in values.items():
        old = base.get(group)
        merged[group] = {**old, **fields} if isinstance(old, dict) and isinstance(fields, dict) else fields
    return merged


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(
            f"{path} cannot be read ({error.strerror}); expected a TOML file of training settings, or one of "
            f"{', '.join(preset_names())}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(
            f"{path} is not TOML ({error}); expected lines such as rate = 1e-5 under [optimizer]"
        ) from None


def format_settings(settings: TrainSettings) -> str:
    """All settings as TOML, which `read_settings` reads."""
    lines: list[str] = []
    for name in asdict(settings):
        lines += [format_group(name, getattr(settings, name)), ""]
    return "\n".join(lines)


def format_group(name: str, group: Any) -> str:
    """One group of settings as TOML."""
    return "\n".join([f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in asdict(group).items())])


def differences(ours: TrainSettings, theirs: TrainSettings) -> list[str]:
    """Settings in which two runs differ, as `group.field: theirs, now ours`, without those that have no effect."""
    old = asdict(theirs)
    return [
        f"{group}.{name}: {old[group][name]!r}, now {value!r}"
        for group, fields in asdict(ours).items()
        for name, value in fields.items()
        if value != old[group][name] and name not in _WITHOUT_EFFECT.get(group, ())
    ]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {_toml(item)}' for name, item in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def make_settings(values: dict[str, Any], overrides: Sequence[str] = (), where: str = "the settings") -> TrainSettings:
    """Settings from nested values and from overrides such as `loss.spatial=0.05`."""
    values = {group: dict(fields) if isinstance(fields, dict) else fields for group, fields in values.items()}
    for text in overrides:
        name, equals, value = text.partition("=")
        group, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise OptionError(f"--set {text!r}; expected group.field=value, such as loss.spatial=0.05")
        values.setdefault(group, {})[key] = _parse_value(value.strip())
    try:
        return TypeAdapter(TrainSettings).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise OptionError(f"{where}: {place}: {first['msg']}; expected {_expected(first['loc'])}") from None


def _parse_value(text: str) -> Any:
    """Parse a TOML value; words need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _expected(place: tuple[int | str, ...]) -> str:
    """The groups, or the fields of a group, that settings may have."""
    defaults = asdict(TrainSettings())
    fields = defaults.get(str(place[0])) if len(place) > 1 else None
    return f"one of {', '.join(fields if isinstance(fields, dict) else defaults)}"
