"""A quick look at a clip that was just made: figures beside it, and in words what somebody should look at."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from echomimic.evaluate.container import Values
from echomimic.evaluate.manifest import Job, file_digest
from echomimic.evaluate.measure import measure
from echomimic.evaluate.networks import Networks
from echomimic.evaluate.provenance import make_card
from echomimic.evaluate.settings import QUICK, QUICK_HAND_RATE, Settings
from echomimic.media import atomic_path
from echomimic.types import Progress

SURE = 0.5
"""Confidence of the lag scan from which its offset is worth a warning."""
USUAL_FLICKER = 0.6
"""Grey values: clips of the mesh engine lie below (see docs/evaluation.md)."""


@dataclass(frozen=True)
class Check:
    """`metrics` by name, `warnings` in words, and where the report lies."""

    path: Path
    metrics: Values
    warnings: tuple[str, ...]


def check_clip(path: str | Path, progress: Progress | None = None) -> Check:
    """Measure the quick set on a video and write `NAME.report.json` beside it; VideoError where it cannot be read."""
    path = Path(path)
    settings = Settings(groups=QUICK, hand_rate=QUICK_HAND_RATE, sheet=0)
    found = measure(Job(path.name, path), settings, Networks(), progress)
    warnings = tuple(warn(found.metrics))
    clip = {"path": path.name, "metrics": found.metrics, "notes": list(found.notes), "warnings": list(warnings)}
    about: dict[str, object] = {
        "path": path.name,
        "sha256": {"path": file_digest(path)},
        "codec": found.container.codec,
    }
    place = path.with_name(f"{path.stem}.report.json")
    report = {"card": make_card(settings, Networks(), [about]), "clips": [clip]}
    with atomic_path(place) as part:
        part.write_text(json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return Check(place, found.metrics, warnings)


def warn(metrics: Mapping[str, float | None]) -> list[str]:
    """What should be looked at, in words; nothing where all is as usual."""
    found = [rule(metrics) for rule in _RULES]
    return [text for text in found if text]


def _lips(metrics: Mapping[str, float | None]) -> str | None:
    offset = metrics.get("sync_offset_frames")
    if offset is None or abs(offset) < 2 or (metrics.get("sync_confidence") or 0) < SURE:
        return None
    return f"lips {'early' if offset > 0 else 'late'} by {abs(offset):.0f} frames"


def _over(name: str, limit: float, words: str) -> Callable[[Mapping[str, float | None]], str | None]:
    def rule(metrics: Mapping[str, float | None]) -> str | None:
        value = metrics.get(name)
        return None if value is None or abs(value) <= limit else words.format(value)

    return rule


def _faceless(metrics: Mapping[str, float | None]) -> str | None:
    found = metrics.get("face_found")
    return None if found is None or found >= 0.98 else f"no face in {1 - found:.0%} of frames"


_RULES: tuple[Callable[[Mapping[str, float | None]], str | None], ...] = (
    _lips,
    _faceless,
    _over("flicker", USUAL_FLICKER, "flicker above usual ({:.2g} grey values)"),
    _over("hands_lost", 0.05, "hands lost in {:.0%} of frames"),
    _over("length_difference_seconds", 0.1, "pictures and sound differ in length by {:+.2f} s"),
    _over("sound_start_seconds", 0.04, "the sound starts {:+.2f} s after the pictures"),
    _over("colour_drift", 5.0, "colours drift (ΔE {:.1f})"),
    _over("identity_colour", 8.0, "the colour of the skin drifts (ΔE {:.1f})"),
    _over("identity_shape", 6.0, "the face changes shape by {:.1f} % of the eye distance"),
    _over("sharpness_slope", 0.2, "sharpness changes by {:+.2f} log2 a second"),
)
