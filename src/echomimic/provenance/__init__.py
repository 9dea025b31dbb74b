"""Where a video comes from: the record of how it was made, and an imperceptible mark in its frames."""

from echomimic.provenance.mark import mark_frames
from echomimic.provenance.mark_detection import MarkResult, find_mark
from echomimic.provenance.record import TAG, RenderRecord, digest, new_record, read_record

__all__ = ["TAG", "MarkResult", "RenderRecord", "digest", "find_mark", "mark_frames", "new_record", "read_record"]
