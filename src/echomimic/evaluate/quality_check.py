"""A quick check of a new clip: figures in a file beside it, and warnings in plain text."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from echomimic.evaluate.catalogue import QUICK, QUICK_HAND_RATE, EvaluationSettings
from echomimic.evaluate.container import Values
from echomimic.evaluate.manifest import ClipSource, file_digest
from echomimic.evaluate.measure import measure
from echomimic.evaluate.networks import MetricNetworks
from echomimic.evaluate.report import make_card
from echomimic.media import write_file
from echomimic.notes import Note

SURE = 0.5
"""Confidence of the lag scan from which its offset is worth a warning."""
USUAL_FLICKER = 0.6
"""Grey values: clips of the mesh engine lie below (see docs/evaluation.md)."""

Rule = Callable[[Mapping[str, float | None]], Note | None]


@dataclass(frozen=True)
class QualityCheck:
    """`metrics` by name, `warnings` in words, and the path of the report."""

    path: Path
    metrics: Values
    warnings: tuple[Note, ...]


def check_clip(path: str | Path) -> QualityCheck:
    """Measure the quick groups and write `NAME.report.json` beside the video. Raises VideoError if it is unreadable."""
    path = Path(path)
    settings = EvaluationSettings(groups=QUICK, hand_rate=QUICK_HAND_RATE, sheet=0)
    found = measure(ClipSource(path.name, path), settings, MetricNetworks())
    warnings = tuple(warn(found.metrics))
    clip = {"path": path.name, "metrics": found.metrics, "notes": list(found.notes), "warnings": list(warnings)}
    about = {"path": path.name, "sha256": {"path": file_digest(path)}, "codec": found.container.codec}
    place = path.with_name(f"{path.stem}.report.json")
    report = {"card": make_card(settings, MetricNetworks(), [about]), "clips": [clip]}
    write_file(place, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return QualityCheck(place, found.metrics, warnings)


def warn(metrics: Mapping[str, float | None]) -> list[Note]:
    """Warnings in plain text about unusual figures."""
    found = [rule(metrics) for rule in _RULES]
    return [text for text in found if text]


def _lips(metrics: Mapping[str, float | None]) -> Note | None:
    offset = metrics.get("sync_offset_frames")
    if offset is None or abs(offset) < 2 or (metrics.get("sync_confidence") or 0) < SURE:
        return None
    when = "early" if offset > 0 else "late"
    return Note.make("lips_out_of_sync", "lips {when} by {frames:.0f} frames", when=when, frames=abs(offset))


def _over(name: str, limit: float, code: str, template: str) -> Rule:
    def rule(metrics: Mapping[str, float | None]) -> Note | None:
        value = metrics.get(name)
        return None if value is None or abs(value) <= limit else Note.make(code, template, value=value)

    return rule


def _faceless(metrics: Mapping[str, float | None]) -> Note | None:
    found = metrics.get("face_found")
    if found is None or found >= 0.98:
        return None
    return Note.make("frames_without_face", "no face in {fraction:.0%} of frames", fraction=1 - found)


_RULES: tuple[Rule, ...] = (
    _lips,
    _faceless,
    _over("flicker", USUAL_FLICKER, code="flicker_high", template="flicker above usual ({value:.2g} grey values)"),
    _over("hands_lost", 0.05, code="hands_lost", template="hands lost in {value:.0%} of frames"),
    _over(
        "length_difference_seconds",
        0.1,
        code="lengths_differ",
        template="pictures and sound differ in length by {value:+.2f} s",
    ),
    _over(
        "sound_start_seconds",
        0.04,
        code="sound_starts_off",
        template="the sound starts {value:+.2f} s after the pictures",
    ),
    _over("colour_drift", 5.0, code="colours_drift", template="colours drift (ΔE {value:.1f})"),
    _over("identity_colour", 8.0, code="skin_colour_drifts", template="the colour of the skin drifts (ΔE {value:.1f})"),
    _over(
        "identity_shape",
        6.0,
        code="face_shape_changes",
        template="the face changes shape by {value:.1f} % of the eye distance",
    ),
    _over("sharpness_slope", 0.2, code="sharpness_changes", template="sharpness changes by {value:+.2f} log2 a second"),
)
