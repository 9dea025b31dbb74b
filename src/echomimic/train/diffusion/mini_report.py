"""The whole of a mini: make clips, train, render held-out clips, and report how well they follow."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from echomimic.data import demo_portrait
from echomimic.media import read_picture
from echomimic.train.diffusion.mini import steps_for_minutes, train_mini, write_figures
from echomimic.train.diffusion.mini_data import HELD_OUT_VOICES, TRAINED_VOICES, available_voices, render_clips
from echomimic.train.diffusion.mini_judge import CASES, Judge, table

SENTENCES, HELD_OUT_SENTENCES = 40, 6


def run_mini(
    folder: Path,
    minutes: float,
    portraits: Sequence[Path],
    *,
    seed: int = 0,
    resume: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> str:
    """Train a mini for `minutes` into `folder`/weights, judge it, and return the table that `report.md` holds."""
    pictures = [read_picture(path) for path in portraits or [demo_portrait()]]
    voices, held_out_voices = available_voices(TRAINED_VOICES), available_voices(HELD_OUT_VOICES)
    note(f"rendering clips of {', '.join(voices)}")
    clips = list(render_clips(pictures, voices, SENTENCES, seed))
    steps = steps_for_minutes(clips, minutes, seed)
    note(f"training {steps} steps on {sum(map(len, clips))} frames of {len(clips)} clips")
    weights = train_mini(clips, folder, steps, seed=seed, resume=resume)
    held_out = list(render_clips(pictures, held_out_voices, HELD_OUT_SENTENCES, seed, held_out=True))
    judge = Judge(weights, pictures, clips)
    rows = [judge.measure(case, held_out) for case in CASES]
    write_figures(folder / "figures.json", {"steps": steps, "rows": [asdict(row) for row in rows]})
    report = table(rows)
    (folder / "report.md").write_text(report + "\n", encoding="utf-8")
    return report
