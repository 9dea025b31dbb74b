"""A complete run of a mini: make clips, train, render held-out clips, and report how well they follow."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np

from echomimic.data import demo_portrait
from echomimic.errors import OptionError, WeightsError
from echomimic.media import read_picture, write_file
from echomimic.presets import Preset, resolve_preset
from echomimic.train.articulation.synthesis import HELD_OUT
from echomimic.train.diffusion import mini_hands
from echomimic.train.diffusion.mini import PRESET, steps_for_minutes, train_mini
from echomimic.train.diffusion.mini_data import (
    TRAINED_VOICES,
    MiniClip,
    available_voices,
    clips_of,
    held_out_seed,
    render_clips,
)
from echomimic.train.diffusion.mini_evaluation import CASES, Case, Evaluator, Faces, Figures, partner, table
from echomimic.types import Picture, Portrait

FRAMES_OF_CLIPS = 45_000
"""Approximate number of training frames that are rendered."""
HELD_OUT_CLIPS = 12
"""Number of test clips: half of them of each of the two held-out voices."""
SEEDS = (0, 1)
"""Seeds of rendering; controls and cases with noise use only the first."""
TARGETS = {
    "a: voice alone": "mouth r at least 0.75, lag 0 in all clips",
    "a, control: another clip's voice": "mouth |r| at most 0.15",
    "b: all landmarks, silence": "mouth r at least 0.85",
    "b, control: another clip's landmarks": "mouth |r| at most 0.2",
    "c: voice and landmarks without the mouth": "mouth r at least 0.7; lids and brows at least 0.8",
    "noise: the same with all landmarks": "mouth r at least 0.8",
    "hands: voice and hands": "wrist r at least 0.8, mouth r at least 0.4",
}
HANDS = (Case("hands: voice and hands"), Case("hands, control: another clip's voice and hands", (), "other", "other"))
_STATE = "mini.json"
_STRIP_FRAMES, _STRIP_ENLARGED = range(6, 30, 2), 2


@dataclass(frozen=True)
class RunCallbacks:
    """Callbacks of a run: for a line to show, and for its progress (steps done, steps in total)."""

    note: Callable[[str], None] = field(default=lambda text: None)
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)


@dataclass(frozen=True)
class MiniPlan:
    """The plan of a run, from which it can be resumed: preset, steps, seed, voices, and sentences of each voice."""

    preset: str
    steps: int
    seed: int
    voices: list[str]
    sentences: int
    portraits: int


def run_mini(
    folder: Path,
    minutes: float,
    portraits: Sequence[Path],
    *,
    preset: str = PRESET,
    seed: int = 0,
    resume: bool = False,
    callbacks: RunCallbacks | None = None,
) -> str:
    """Train a mini for `minutes` into `folder`/weights, evaluate it, and return the text of `report.md`.

    Writes the portraits that it was trained on into `folder`/portraits, and report.md, figures.json and strip.png.
    Raises SetupError without speech synthesizers, OptionError if the folder holds a run already.
    """
    callbacks = callbacks or RunCallbacks()
    voices = available_voices(TRAINED_VOICES)
    held_out = available_voices(HELD_OUT)
    plan = _read_plan(folder) if resume else None
    if plan is None:
        _check_new(folder)
    pictures = prepare_portraits(folder, portraits, preset) if plan is None else saved_portraits(folder)
    sentences = plan.sentences if plan else max(2, FRAMES_OF_CLIPS // (85 * sum(clips_of(name, 1) for name in voices)))
    callbacks.note(f"rendering {sum(clips_of(name, sentences) for name in voices)} clips of {len(voices)} voices")
    clips = list(make_clips(pictures, plan.voices if plan else voices, sentences, seed, preset))
    if plan is None:
        plan = MiniPlan(preset, steps_for_minutes(clips, minutes, seed), seed, voices, sentences, len(pictures))
        write_file(folder / _STATE, json.dumps(asdict(plan), indent=1) + "\n")
    callbacks.note(f"training {plan.steps} steps on {sum(map(len, clips))} frames of {len(clips)} clips")

    def report(record: dict[str, object]) -> None:
        callbacks.progress(int(str(record["step"])), plan.steps)

    weights = train_mini(clips, folder, plan.steps, preset=plan.preset, seed=plan.seed, resume=resume, report=report)
    count = HELD_OUT_CLIPS // len(held_out)
    other = held_out_seed(plan.seed, plan.voices, plan.sentences, held_out, count)
    unseen = list(make_clips(pictures, held_out, count, other, plan.preset))
    return write_report(folder, plan, weights, pictures, clips, unseen, callbacks)


def make_clips(
    portraits: Sequence[Portrait], voices: Sequence[str], sentences: int, seed: int, preset: str
) -> Iterator[MiniClip]:
    """The clips of a preset: faces for v1-landmarks, half bodies with a hand for v2."""
    if preset == PRESET:
        yield from render_clips(portraits, voices, sentences, seed)
        return
    clips = render_clips(portraits, voices, sentences, seed, framing="full")
    for number, clip in enumerate(clips):
        yield mini_hands.with_hand(clip, np.random.default_rng([seed, number]))


def prepare_portraits(folder: Path, paths: Sequence[Path], preset: str) -> list[Portrait]:
    """Read the portraits, or take three of the bundled one: itself, its mirror image, and other colours.

    They are saved as `folder`/portraits/1.png and so on. The mini of v2 has one portrait; with_hand.png is the portrait
    for its renders.
    """
    found = [read_picture(path) for path in paths] or portrait_variants(read_picture(demo_portrait()))
    if preset != PRESET:
        found = [mini_hands.half_body(portrait) for portrait in found[:1]]
    for number, portrait in enumerate(found, 1):
        _write_picture(folder / "portraits" / f"{number}.png", portrait.pixels)
        if preset != PRESET:
            _write_picture(folder / "portraits" / "with_hand.png", mini_hands.resting_portrait(portrait).pixels)
    return found


def saved_portraits(folder: Path) -> list[Portrait]:
    """The portraits that `prepare_portraits` saved."""
    paths = (folder / "portraits").glob("[0-9]*.png")
    return [read_picture(path) for path in sorted(paths, key=lambda path: int(path.stem))]


def portrait_variants(portrait: Portrait) -> list[Portrait]:
    """A portrait, its mirror image, and the portrait with red and blue exchanged: three portraits from one photo."""
    pixels = portrait.pixels
    return [
        portrait,
        Portrait(np.ascontiguousarray(pixels[:, ::-1])),
        Portrait(np.ascontiguousarray(pixels[..., ::-1])),
    ]


def write_report(
    folder: Path,
    plan: MiniPlan,
    weights: Path,
    portraits: Sequence[Portrait],
    clips: Sequence[MiniClip],
    unseen: Sequence[MiniClip],
    callbacks: RunCallbacks,
) -> str:
    """Evaluate the weights on `unseen` clips and write report.md, figures.json and strip.png; return the report."""
    preset, _ = resolve_preset(plan.preset, weights=weights)
    shown = [mini_hands.resting_portrait(portrait) for portrait in portraits] if preset.uses_hands else portraits
    evaluator = Evaluator(weights, preset, shown, Faces(clips))
    cases = HANDS if preset.uses_hands else CASES
    rows = []
    for case in cases:
        callbacks.note(f"judging {case.name}")
        rows.append(evaluator.measure(case, unseen, SEEDS if is_driven_by_its_own(case) else SEEDS[:1]))
        callbacks.note(f"{case.name}: mouth r {rows[-1].mouth:.3f}")
    facts = {"plan": asdict(plan), "options": preset.defaults, "ceiling": evaluator.ceiling(unseen)}
    write_file(folder / "figures.json", json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    save_strip(folder / "strip.png", strip_rows(evaluator, cases, unseen))
    text = report_text(plan, preset, rows, facts["ceiling"], len(unseen))
    write_file(folder / "report.md", text)
    return text


def is_driven_by_its_own(case: Case) -> bool:
    """Whether a case is neither a control nor one with noise."""
    return case.voice != "other" and case.landmarks == "own" and not case.babble


def report_text(plan: MiniPlan, preset: Preset, rows: Sequence[Figures], highest: dict[str, float], clips: int) -> str:
    """The report as Markdown: how it was made, the table, and the targets."""
    targets = "\n".join(f"- {row.case}: {TARGETS[row.case]}" for row in rows if row.case in TARGETS)
    limits = ", ".join(f"{name} {value:.3f}" for name, value in highest.items())
    rendering = f"{preset.defaults['steps']} steps at guidance {preset.defaults['guidance_scale']}"
    return f"""# Mini of {plan.preset}

{plan.steps} steps on {plan.portraits} portraits and {len(plan.voices)} synthesized voices, seed {plan.seed}.
Rendered with {rendering}: {clips} clips of held-out voices and sentences.
Each has two seeds; controls and noise have one.

{table(rows)}

r is Pearson's, after removing a moving average of a second. On the true frames, passed through the
codec, r is {limits}: no mini can reach more.

Targets:

{targets}
"""


def strip_rows(evaluator: Evaluator, cases: Sequence[Case], clips: Sequence[MiniClip]) -> list[Picture]:
    """Frames of the longest clip: the true ones, then those of each case that is driven by its own voice or motion."""
    clip = max(clips, key=len)
    own = [case for case in cases if is_driven_by_its_own(case)]
    rendered = [evaluator.render(clip, partner(clip, clips), case) for case in own]
    return [frames[list(_STRIP_FRAMES)] for frames in (clip.frames, *rendered)]


def save_strip(path: Path, rows: Sequence[Picture]) -> None:
    """Write rows of frames (n, H, W, 3) as one picture, at twice the size."""
    strip = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    _write_picture(path, strip.repeat(_STRIP_ENLARGED, 0).repeat(_STRIP_ENLARGED, 1))


def _write_picture(path: Path, pixels: Picture) -> None:
    done, data = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR))
    assert done
    write_file(path, data.tobytes())


def _check_new(folder: Path) -> None:
    if (folder / _STATE).exists() or (folder / "steps").exists():
        raise OptionError(f"{folder} holds a run already; expected an empty folder, or --resume")


def _read_plan(folder: Path) -> MiniPlan | None:
    """Read the plan of an interrupted run; None if the run was interrupted before it had a plan."""
    path = folder / _STATE
    if not path.exists():
        return None
    try:
        return MiniPlan(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise WeightsError(f"{path} cannot be read; expected what train mini wrote: start in a new folder") from None
