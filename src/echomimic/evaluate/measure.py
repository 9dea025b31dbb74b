"""Measure one clip, group by group."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from echomimic.errors import SoundError
from echomimic.evaluate import learned_metrics as learned
from echomimic.evaluate.catalogue import EvaluationSettings
from echomimic.evaluate.container import Container, Values, container_metrics, read_container
from echomimic.evaluate.frame_pass import FramePass, pass_frames, track_face
from echomimic.evaluate.landmarks import (
    Faces,
    expression_features,
    face_metrics,
    hand_metrics,
    landmark_distances,
    opening,
)
from echomimic.evaluate.learned_metrics import fit_gaussian, frechet_distance
from echomimic.evaluate.manifest import ClipSource
from echomimic.evaluate.networks import MetricNetworks, missing_network
from echomimic.evaluate.picture import flicker_curve, paired_frames, picture_metrics, reference_metrics
from echomimic.evaluate.sync import closure_metrics, sync_metrics, syncnet_metrics
from echomimic.landmarks.face import find_faces, upright_portrait
from echomimic.media import Video, read_picture, read_speech, read_video
from echomimic.mesh.expected_mouth import expected_mouth
from echomimic.motion.lags import scan_lags
from echomimic.motion.tracking import upright_video
from echomimic.notes import collect_notes, emit, note
from echomimic.types import Floats, Picture, Progress, Speech

DIGITS = 6
"""Significant digits of every figure: the last bits of float32 sums may differ between machines."""
FeatureSets = dict[str, tuple[Floats, Floats]]
"""Features (n, d) of a clip and of its reference, for distances between sets."""
Series = dict[str, Floats]


@dataclass(frozen=True)
class Measured:
    """Results of a clip: `metrics` by name (None: undefined), curves to plot, features for distances between sets."""

    container: Container
    metrics: Values
    notes: tuple[str, ...]
    series: Series
    sheet: tuple[Picture, ...]
    feature_sets: FeatureSets = field(default_factory=dict)


@dataclass(frozen=True)
class _Context:
    """The inputs that the groups share; each is computed once."""

    source: ClipSource
    settings: EvaluationSettings
    networks: MetricNetworks
    container: Container
    reference: Video | None
    frame_pass: FramePass
    series: Series = field(default_factory=dict)
    feature_sets: FeatureSets = field(default_factory=dict)

    @cached_property
    def speech(self) -> Speech | None:
        try:
            return read_speech(self.source.path)
        except SoundError as error:
            note(error.code, "{problem}", problem=error)
            return None

    @property
    def start(self) -> float:
        """Seconds after the file starts to play at which its first picture is shown."""
        return max(0.0, float(self.container.picture_times[0]))

    @cached_property
    def reference_faces(self) -> Faces | None:
        return None if self.reference is None else track_face(self.reference)

    def frames(self) -> Iterator[Picture]:
        return (pixels for _, pixels in self.frame_pass.video.frames())

    def reference_frames(self) -> Iterator[Picture]:
        return (pixels for _, pixels in self.reference.frames()) if self.reference else iter(())


def measure(
    source: ClipSource, settings: EvaluationSettings, networks: MetricNetworks, progress: Progress | None = None
) -> Measured:
    """Measure one clip; raises EchoMimicError if it or its reference cannot be read."""
    with collect_notes() as notes:
        container = read_container(source.path)
        reference = None if source.reference is None else upright_video(read_video(source.reference))
        seen = _Context(source, settings, networks, container, reference, pass_frames(source.path, settings, progress))
        metrics: Values = {}
        for group in settings.groups:
            has_network = networks.syncnet is not None if group == "syncnet" else group in networks.plain
            if group not in PLAIN_GROUPS and not has_network:
                emit(missing_network(group))
            else:
                metrics.update({**PLAIN_GROUPS, **LEARNED_GROUPS}[group](seen))
    rounded = {name: round_digits(value) for name, value in metrics.items()}
    return Measured(container, rounded, tuple(notes), seen.series, seen.frame_pass.sheet, seen.feature_sets)


def round_digits(value: float | None) -> float | None:
    """Round to six significant digits; None for NaN and infinity."""
    return float(f"{value:.{DIGITS}g}") if value is not None and np.isfinite(value) else None


def set_distance(pairs: list[tuple[Floats, Floats]]) -> float | None:
    """The Fréchet distance between all features of clips and all of their references; None for fewer than two."""
    nothing = [np.zeros((0, 1), np.float32)]
    ours, theirs = (np.concatenate([pair[side] for pair in pairs if len(pair[side])] or nothing) for side in (0, 1))
    if min(len(ours), len(theirs)) < 2:
        return None
    return round_digits(frechet_distance(fit_gaussian(ours), fit_gaussian(theirs)))


def _sync(seen: _Context) -> Values:
    faces = seen.frame_pass.faces
    if faces is None or seen.speech is None:
        return sync_metrics(None)
    seen_gap, expected = opening(faces), expected_mouth(seen.speech, len(faces.still), faces.fps, seen.start)
    sync = scan_lags(seen_gap, expected.opening, faces.fps, seen.settings.lag)
    seen.series.update({"mouth seen": seen_gap, "mouth expected": expected.opening})
    if sync is None:
        note("lip_sync_not_measurable", "lip sync cannot be measured: the mouth does not move, or nothing is said")
        return {**sync_metrics(None), **closure_metrics(seen_gap, expected, faces.fps, 0.0)}
    seen.series["correlation by lag"] = sync.scan
    if abs(sync.offset) == sync.lag:
        note(
            "lag_at_scan_end",
            "the best lag lies at the end of the scan ({offset:+d} frames): the true one may lie beyond it",
            offset=sync.offset,
        )
    return {**sync_metrics(sync), **closure_metrics(seen_gap, expected, faces.fps, sync.seconds)}


def _face(seen: _Context) -> Values:
    faces = seen.frame_pass.faces
    if faces is None:
        return {"face_found": 0.0}
    seen.series["yaw"] = faces.curves["yaw"]
    return face_metrics(faces, seen.frame_pass.statistics)


def _picture(seen: _Context) -> Values:
    statistics = seen.frame_pass.statistics
    seen.series.update({"flicker": flicker_curve(statistics.grid), "sharpness": statistics.sharpness})
    return picture_metrics(statistics, seen.frame_pass.video.fps)


def _reference(seen: _Context) -> Values:
    if seen.reference is None:
        return {}
    values = reference_metrics(seen.frame_pass.video, seen.reference)
    if seen.frame_pass.faces is not None and seen.reference_faces is not None:
        values |= landmark_distances(seen.frame_pass.faces, seen.reference_faces)
    return values


def _expression(seen: _Context) -> Values:
    ours, theirs = seen.frame_pass.faces, seen.reference_faces
    if ours is None or theirs is None:
        return {}
    return _distance(seen, "mesh_expression_frechet", expression_features(ours), expression_features(theirs))


def _distance(seen: _Context, name: str, ours: Floats, theirs: Floats) -> Values:
    seen.feature_sets[name] = (ours, theirs)
    return {name: set_distance([(ours, theirs)])}


def _fid(seen: _Context) -> Values:
    frames = (seen.frames(), seen.reference_frames())
    return _distance(seen, "fid", *(learned.frame_features(seen.networks.plain["fid"], side) for side in frames))


def _fvd(seen: _Context) -> Values:
    frames = (seen.frames(), seen.reference_frames())
    return _distance(seen, "fvd", *(learned.window_features(seen.networks.plain["fvd"], side) for side in frames))


def _lpips(seen: _Context) -> Values:
    if seen.reference is None:
        return {}
    return {"lpips": learned.lpips(seen.networks.plain["lpips"], paired_frames(seen.frame_pass.video, seen.reference))}


def _syncnet(seen: _Context) -> Values:
    faces, network = seen.frame_pass.faces, seen.networks.syncnet
    if faces is None or network is None or seen.speech is None:
        return {}
    return syncnet_metrics(network, seen.frame_pass.video, faces, seen.speech)


def _csim(seen: _Context) -> Values:
    if seen.frame_pass.faces is None:
        return {"csim": None}
    network = seen.networks.plain["csim"]
    ours = learned.embeddings(
        network, learned.face_crops(seen.frame_pass.video, seen.frame_pass.faces, learned.FACE_SIDE)
    )
    return {"csim": learned.csim(ours, _expected_identity(seen, network, ours))}


def _expected_identity(seen: _Context, network: learned.Network, ours: Floats) -> Floats:
    """Embeddings of the expected person: of the portrait, else of the reference, else of the clip's first face."""
    if seen.source.portrait is not None:
        pixels = upright_portrait(read_picture(seen.source.portrait)).pixels
        faces = sorted(find_faces(pixels), key=lambda face: -face.size)[:1]
        return learned.embeddings(
            network, [learned.face_crop(pixels, face.landmarks, learned.FACE_SIDE) for face in faces]
        )
    if seen.reference is not None and seen.reference_faces is not None:
        return learned.embeddings(network, learned.face_crops(seen.reference, seen.reference_faces, learned.FACE_SIDE))
    return ours[:1]


def _efid(seen: _Context) -> Values:
    pairs = ((seen.frame_pass.video, seen.frame_pass.faces), (seen.reference, seen.reference_faces))
    feature_sets = [
        learned.expression_coefficients(
            seen.networks.plain["efid"],
            learned.face_crops(video, faces, learned.EXPRESSION_SIDE) if video and faces else (),
        )
        for video, faces in pairs
    ]
    return _distance(seen, "efid", *feature_sets)


PLAIN_GROUPS: Mapping[str, Callable[[_Context], Values]] = {
    "container": lambda seen: container_metrics(seen.container),
    "sync": _sync,
    "face": _face,
    "picture": _picture,
    "hands": lambda seen: {} if seen.frame_pass.hands is None else hand_metrics(seen.frame_pass.hands),
    "reference": _reference,
    "expression": _expression,
}
LEARNED_GROUPS: Mapping[str, Callable[[_Context], Values]] = {
    "fid": _fid,
    "fvd": _fvd,
    "lpips": _lpips,
    "syncnet": _syncnet,
    "csim": _csim,
    "efid": _efid,
}
