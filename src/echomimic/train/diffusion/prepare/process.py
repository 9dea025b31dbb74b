"""Prepare one video: from a file to the rows of its clips. The result depends only on the file and the settings."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from echomimic.checkpoints import checksum
from echomimic.mesh.expected_mouth import mouth_of_features
from echomimic.motion.lags import Sync
from echomimic.train.diffusion.manifest import FaceScore, Row, Source, SyncScore
from echomimic.train.diffusion.prepare.quality import (
    VideoSync,
    check_sync,
    scan_piece,
    score_sync,
    speech_fraction,
    sync_of_video,
)
from echomimic.train.diffusion.prepare.settings import PrepareSettings
from echomimic.train.diffusion.prepare.tracks import TrackedPiece, track_piece
from echomimic.train.diffusion.prepare.video import DroppedError, OpenedVideo, Span, luma_changes, open_video, split
from echomimic.train.diffusion.prepare.write import write_clip
from echomimic.train.diffusion.rights import Recording
from echomimic.types import Floats

VALIDATION = 0.02
"""Fraction of the subjects whose clips are for validation."""


@dataclass(frozen=True)
class _Candidate:
    """A piece whose face passed, with its sound measured."""

    row: Row
    span: Span
    tracked: TrackedPiece
    sync: Sync | None


def prepare_video(
    path: Path, settings: PrepareSettings, recording: Recording, folder: Path, name: str = ""
) -> list[Row]:
    """Cut the video into clips, write the files of the good ones under `folder`, and return a row for every piece.

    `name` is what rows call the video. Raises OutputError if the files cannot be written.
    """
    source = Source(name or path.name, checksum(path), recording.url)
    row = Row(clip_id(source, settings, 0), settings.kind, source, recording.rights, settings.digest())
    whole = describe(row, recording)
    try:
        opened = open_video(path, settings)
    except DroppedError as reason:
        return [_dropped(whole, reason)]
    grid = opened.piece(settings.fps, 0, round(opened.video.duration * settings.fps))
    changes = luma_changes(pixels for _, pixels in grid.frames())
    expected = mouth_of_features(opened.speech, len(changes), settings.fps, opened.video.start).opening
    spans = split(changes, settings)
    examined = [_examine(opened, span, expected, _row_of(whole, opened, span, settings), settings) for span in spans]
    candidates = [result for result in examined if isinstance(result, _Candidate)]
    common = sync_of_video([c.sync for c in candidates], [c.span.count for c in candidates], settings)
    return [r if isinstance(r, Row) else _finish(opened, r, common, settings, folder) for r in examined]


def clip_id(source: Source, settings: PrepareSettings, first: int) -> str:
    """Name of the clip that starts at frame `first` of a video."""
    return hashlib.sha256(f"{source.sha256}:{settings.digest()}:{first}".encode()).hexdigest()[:32]


def describe(row: Row, recording: Recording) -> Row:
    """The row with the rights and texts that `rights.toml` states now, and the split that follows from the subject."""
    draw = int(hashlib.sha256(recording.rights.subject.encode()).hexdigest()[:12], 16) / 16**12
    return replace(
        row,
        rights=recording.rights,
        language=recording.language,
        source=replace(row.source, url=recording.url),
        split="val" if draw < VALIDATION else "train",
    )


def _row_of(whole: Row, opened: OpenedVideo, span: Span, settings: PrepareSettings) -> Row:
    start = opened.video.start + span.first / settings.fps
    source = replace(whole.source, start=round(start, 4), stop=round(start + span.count / settings.fps, 4))
    return replace(whole, id=clip_id(source, settings, span.first), source=source, frames=span.count, fps=settings.fps)


def _examine(
    opened: OpenedVideo, span: Span, expected: Floats, row: Row, settings: PrepareSettings
) -> Row | _Candidate:
    """Track a piece and measure its sound; returns its row if it is dropped."""
    try:
        if span.dropped is not None:
            raise DroppedError(span.dropped, span.detail)
        speech = speech_fraction(opened.speech, row.source.start, row.seconds)
        row = replace(row, speech=round(speech, 4))
        if speech < settings.least_speech and not _is_kept(row, settings):
            raise DroppedError("no_speech", f"{speech:.0%} of the time")
        tracked = track_piece(opened.piece(settings.fps, span.first, span.count), settings)
        face = FaceScore(round(tracked.share, 4), round(float(abs(tracked.face.yaw).max()), 2))
        row = replace(row, face=face, size=(tracked.crop.width, tracked.crop.height))
        if tracked.hands is not None:
            row = replace(row, hands=round(tracked.hands, 4))
            if tracked.hands < settings.least_hands and not _is_kept(row, settings):
                raise DroppedError("hands", f"both in {tracked.hands:.0%} of the frames")
    except DroppedError as reason:
        return _dropped(row, reason)
    gap = tracked.face.gap
    return _Candidate(row, span, tracked, scan_piece(gap, expected[span.first : span.first + span.count], settings))


def _finish(
    opened: OpenedVideo, candidate: _Candidate, common: VideoSync | None, settings: PrepareSettings, folder: Path
) -> Row:
    """Check the sync of a piece, write its clip with the sound aligned, and return its row."""
    row, sync = candidate.row, candidate.sync
    score: SyncScore | None = None if sync is None else score_sync(sync, common)
    try:
        speaks = row.speech is not None and row.speech >= settings.least_speech
        if speaks:
            check_sync(score, row.seconds, common, settings)
            row = replace(row, sync=score)
        offset = score.offset if speaks and score is not None else 0 if common is None else common.offset
        sound = opened.cut_sound(row.source.start + offset / settings.fps, row.seconds)
        written = write_clip(folder, row.id, candidate.tracked, sound, settings)
    except DroppedError as reason:
        return _dropped(row if score is None else replace(row, sync=score), reason)
    return replace(
        row,
        clip=written.files["clip"],
        sound=written.files["sound"],
        track=written.files["track"],
        checksums=written.checksums,
        fingerprint=written.fingerprint,
        sharpness=round(written.quality.sharpness, 4),
    )


def _dropped(row: Row, reason: DroppedError) -> Row:
    return replace(row, dropped=reason.reason, detail=reason.detail)


def _is_kept(row: Row, settings: PrepareSettings) -> bool:
    """Whether a clip without speech or hands is one of the few that are kept, decided by its id."""
    return int(row.id[:8], 16) / 16**8 < settings.kept_without
