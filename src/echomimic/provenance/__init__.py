"""Where a video comes from: the record of how it was made, and an imperceptible mark in its frames."""

from echomimic.provenance.mark import mark_frames
from echomimic.provenance.mark_detection import MarkResult, find_mark

__all__ = ["MarkResult", "find_mark", "mark_frames"]
