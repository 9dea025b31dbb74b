"""Layers: named groups of edits that are applied together, in full, in part or not at all."""

from collections.abc import Sequence
from dataclasses import replace

from echomimic.motion.edits import EditContext, apply_edits, read_edits
from echomimic.motion.time_edits import Track, mix
from echomimic.types import LandmarkTrack


def layer(
    track: Track,
    name: str,
    edits: Sequence[object],
    strength: float = 1.0,
    muted: bool = False,
    solo: bool = False,
    context: EditContext | None = None,
) -> Track:
    """Apply the edits of a layer, records or edits; with a `strength` below 1 only that fraction of their effect.

    A layer that is `muted` changes nothing. `solo` counts where several layers are applied (`edits.active_edits`), and
    `name` is for people.
    """
    if muted or not edits:
        return track
    context = context or EditContext()
    after: Track = apply_edits(track, read_edits(edits), context, context.progress)
    if strength == 1:
        return after
    mixed = mix(track, after, strength)
    if isinstance(mixed, LandmarkTrack) and isinstance(after, LandmarkTrack):
        return replace(mixed, parts=after.parts)
    return mixed
