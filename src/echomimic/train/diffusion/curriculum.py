"""The curriculum of V2 (Audio-Pose Dynamic Harmonization) as data: the drawn parts and the audio mask of each step.

A run has one set of trained parameters and one number of frames. Phases that share both follow one another inside a
run, so that the optimizer keeps its moments; a phase that changes either is a separate run, which starts from the
export of the run before it.
"""

from dataclasses import dataclass

from echomimic.errors import OptionError
from echomimic.train.diffusion.randomness import stream
from echomimic.train.diffusion.settings import CurriculumPhase, CurriculumSettings, Hearing, TrainSettings


@dataclass(frozen=True)
class CurriculumState:
    """The state of the curriculum at one step.

    Attributes:
        phase: name of the phase.
        parts: parts of the pose that are drawn.
        small, large, mix: the voice is heard in (1 - mix) * small + mix * large.
        pose_drop: probability of an empty condition picture.
        headshots: fraction of the samples that are padded headshots.
    """

    phase: str
    parts: tuple[str, ...]
    small: Hearing
    large: Hearing
    mix: float
    pose_drop: float
    headshots: float


def check_curriculum(settings: TrainSettings) -> None:
    """Raise OptionError unless the phases are as long as the run, if there are any."""
    phases = settings.curriculum.phases
    total = sum(phase.steps for phase in phases)
    if phases and total != settings.run.steps:
        raise OptionError(
            f"the phases of the curriculum have {total} steps, the run has {settings.run.steps}; expected the same: "
            "set run.steps or the steps of [[curriculum.phases]]"
        )


def state_at(settings: CurriculumSettings, step: int) -> CurriculumState:
    """Return the state at a step, counted from 0; after the last phase its last state.

    Without phases, hands are drawn and the audio mask is 1 everywhere, as in inference.
    """
    first, phases = 0, settings.phases or (CurriculumPhase("hands", 1),)
    for phase in phases:
        if step < first + phase.steps:
            return _state(phase, step - first)
        first += phase.steps
    return _state(phases[-1], phases[-1].steps)


def _state(phase: CurriculumPhase, step: int) -> CurriculumState:
    small, large = phase.audio
    mix = min(1.0, step / phase.blend_steps) if phase.blend_steps else 1.0
    low, high = phase.pose_drop
    drop = low + (high - low) * step / phase.steps
    return CurriculumState(phase.name, phase.parts, small, large, mix, drop, phase.headshots)


def is_headshot(seed: int, n: int, batch: int, fraction: float) -> bool:
    """Whether sample `n` is a headshot: `fraction` of the samples of every step, to within one."""
    step, place = divmod(n, batch)
    draw = stream("headshot", seed, step)
    offset, order = draw.random(), draw.permutation(batch)
    return bool(order[place] + offset < fraction * batch)


def hides_hands(seed: int, n: int, probability: float) -> bool:
    """Whether sample `n` draws no hands, and shows frames with as few of them as its clip has."""
    return bool(stream("pose", seed, n, 1).random() < probability)


def drops_pose(seed: int, n: int, probability: float) -> bool:
    """Whether the condition picture of sample `n` stays empty."""
    return bool(stream("pose", seed, n).random() < probability)
