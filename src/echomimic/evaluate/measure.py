"""All that is measured on one clip, group by group."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from echomimic.errors import InputError, SoundError
from echomimic.evaluate import learned_metrics as deep
from echomimic.evaluate.container import Container, Values, container_metrics, read_container
from echomimic.evaluate.expression import expression_features
from echomimic.evaluate.frame_pass import Watched, watch, watch_face
from echomimic.evaluate.frechet import fit_gaussian, frechet_distance
from echomimic.evaluate.hands import hand_metrics
from echomimic.evaluate.landmarks import Faces, face_metrics, landmark_distances, opening
from echomimic.evaluate.manifest import Job
from echomimic.evaluate.networks import Networks, absent
from echomimic.evaluate.picture import flicker_curve, picture_metrics
from echomimic.evaluate.reference import paired_frames, reference_metrics
from echomimic.evaluate.settings import Settings
from echomimic.evaluate.sync import Called, called_for, closure_metrics, scan_lags, sync_metrics
from echomimic.evaluate.syncnet import syncnet_metrics
from echomimic.landmarks.face import find_faces
from echomimic.media import Video, read_picture, read_speech, read_video
from echomimic.notes import collect_notes, emit, note
from echomimic.types import Floats, Picture, Progress, Speech

DIGITS = 6
"""Significant digits of every figure: the last bits of float32 sums may differ between machines."""
Clouds = dict[str, tuple[Floats, Floats]]
"""Features (n, d) of a clip and of its reference, for distances between sets."""
Series = dict[str, Floats]


@dataclass(frozen=True)
class Measured:
    """What was found: `metrics` by name (None: cannot be said), curves to plot, features for distances of sets."""

    container: Container
    metrics: Values
    notes: tuple[str, ...]
    series: Series
    sheet: tuple[Picture, ...]
    clouds: Clouds = field(default_factory=dict)


@dataclass(frozen=True)
class _Seen:
    """A clip as the groups see it; what several of them need is worked out once."""

    job: Job
    settings: Settings
    networks: Networks
    container: Container
    reference: Video | None
    watched: Watched
    series: Series = field(default_factory=dict)
    clouds: Clouds = field(default_factory=dict)

    @cached_property
    def speech(self) -> Speech | None:
        try:
            return read_speech(self.job.path)
        except SoundError as error:
            note(error.code, "{problem}", problem=error)
            return None

    @property
    def start(self) -> float:
        """Seconds after the file starts to play at which its first picture is shown."""
        return max(0.0, float(self.container.picture_times[0]))

    @cached_property
    def reference_faces(self) -> Faces | None:
        return None if self.job.reference is None else watch_face(self.job.reference)

    def frames(self) -> Iterator[Picture]:
        return (pixels for _, pixels in self.watched.video.frames())

    def reference_frames(self) -> Iterator[Picture]:
        return (pixels for _, pixels in self.reference.frames()) if self.reference else iter(())


def measure(job: Job, settings: Settings, networks: Networks, progress: Progress | None = None) -> Measured:
    """Measure one clip; EchoMimicError where it, or its reference, cannot be read."""
    with collect_notes() as notes:
        container = read_container(job.path)
        reference = None if job.reference is None else read_video(job.reference)
        seen = _Seen(job, settings, networks, container, reference, watch(job.path, settings, progress))
        metrics: Values = {}
        for group in settings.groups:
            if group not in PLAIN_GROUPS and not _has_network(group, networks):
                emit(absent(group))
            else:
                metrics.update({**PLAIN_GROUPS, **DEEP_GROUPS}[group](seen))
    rounded = {name: round_digits(value) for name, value in metrics.items()}
    return Measured(container, rounded, tuple(notes), seen.series, seen.watched.sheet, seen.clouds)


def round_digits(value: float | None) -> float | None:
    """A figure to six significant digits; None for what is not a number."""
    return float(f"{value:.{DIGITS}g}") if value is not None and np.isfinite(value) else None


def set_distance(pairs: list[tuple[Floats, Floats]]) -> float | None:
    """The Fréchet distance between all features of clips and all of their references; None for fewer than two."""
    nothing = [np.zeros((0, 1), np.float32)]
    ours, theirs = (np.concatenate([pair[side] for pair in pairs if len(pair[side])] or nothing) for side in (0, 1))
    if min(len(ours), len(theirs)) < 2:
        return None
    return round_digits(frechet_distance(fit_gaussian(ours), fit_gaussian(theirs)))


def _has_network(group: str, networks: Networks) -> bool:
    return networks.syncnet is not None if group == "syncnet" else group in networks.plain


def _container(seen: _Seen) -> Values:
    return container_metrics(seen.container)


def _sync(seen: _Seen) -> Values:
    faces = seen.watched.faces
    if faces is None or seen.speech is None:
        return sync_metrics(None)
    seen_gap, called = opening(faces), called_for(seen.speech, len(faces.still), faces.fps, seen.start)
    sync = scan_lags(seen_gap, called.opening, faces.fps, seen.settings.lag)
    seen.series.update({"mouth seen": seen_gap, "mouth called for": called.opening})
    if sync is None:
        note("lip_sync_not_measurable", "lip sync cannot be measured: the mouth does not move, or nothing is said")
        return {**sync_metrics(None), **closure_metrics(seen_gap, called, faces.fps, 0.0)}
    seen.series["correlation by lag"] = sync.scan
    _warn_of_edge(sync.offset, sync.lag, called)
    return {**sync_metrics(sync), **closure_metrics(seen_gap, called, faces.fps, sync.seconds)}


def _warn_of_edge(offset: int, lag: int, called: Called) -> None:
    if abs(offset) == lag and len(called.opening):
        note(
            "lag_at_scan_end",
            "the best lag lies at the end of the scan ({offset:+d} frames): the true one may lie beyond it",
            offset=offset,
        )


def _face(seen: _Seen) -> Values:
    faces = seen.watched.faces
    if faces is None:
        return {"face_found": 0.0}
    seen.series["yaw"] = faces.curves["yaw"]
    return face_metrics(faces, seen.watched.light)


def _picture(seen: _Seen) -> Values:
    light = seen.watched.light
    seen.series.update({"flicker": flicker_curve(light.grid), "sharpness": light.sharpness})
    return picture_metrics(light, seen.watched.video.fps)


def _hands(seen: _Seen) -> Values:
    return {} if seen.watched.hands is None else hand_metrics(seen.watched.hands)


def _reference(seen: _Seen) -> Values:
    if seen.reference is None:
        return {}
    values = reference_metrics(seen.watched.video, seen.reference)
    if seen.watched.faces is not None and seen.reference_faces is not None:
        values |= landmark_distances(seen.watched.faces, seen.reference_faces)
    return values


def _expression(seen: _Seen) -> Values:
    ours, theirs = seen.watched.faces, seen.reference_faces
    if ours is None or theirs is None:
        return {}
    return _distance(seen, "mesh_expression_frechet", expression_features(ours), expression_features(theirs))


def _distance(seen: _Seen, name: str, ours: Floats, theirs: Floats) -> Values:
    seen.clouds[name] = (ours, theirs)
    return {name: set_distance([(ours, theirs)])}


def _fid(seen: _Seen) -> Values:
    frames = (seen.frames(), seen.reference_frames())
    return _distance(seen, "fid", *(deep.frame_features(seen.networks.plain["fid"], side) for side in frames))


def _fvd(seen: _Seen) -> Values:
    frames = (seen.frames(), seen.reference_frames())
    return _distance(seen, "fvd", *(deep.window_features(seen.networks.plain["fvd"], side) for side in frames))


def _lpips(seen: _Seen) -> Values:
    if seen.reference is None:
        return {}
    return {"lpips": deep.lpips(seen.networks.plain["lpips"], paired_frames(seen.watched.video, seen.reference))}


def _syncnet(seen: _Seen) -> Values:
    faces, network = seen.watched.faces, seen.networks.syncnet
    if faces is None or network is None or seen.speech is None:
        return {}
    return syncnet_metrics(network, seen.watched.video, faces, seen.speech)


def _csim(seen: _Seen) -> Values:
    if seen.watched.faces is None:
        return {"csim": None}
    network = seen.networks.plain["csim"]
    ours = deep.embeddings(network, deep.face_crops(seen.watched.video, seen.watched.faces, deep.FACE_SIDE))
    return {"csim": deep.csim(ours, _wanted(seen, network, ours))}


def _wanted(seen: _Seen, network: deep.Network, ours: Floats) -> Floats:
    """Embeddings of who the clip ought to show: the portrait, else the reference, else its own first face."""
    if seen.job.portrait is not None:
        pixels = read_picture(seen.job.portrait).pixels
        faces = sorted(find_faces(pixels), key=lambda face: -face.size)[:1]
        return deep.embeddings(network, [deep.face_crop(pixels, face.landmarks, deep.FACE_SIDE) for face in faces])
    if seen.reference is not None and seen.reference_faces is not None:
        return deep.embeddings(network, deep.face_crops(seen.reference, seen.reference_faces, deep.FACE_SIDE))
    return ours[:1]


def _efid(seen: _Seen) -> Values:
    pairs = ((seen.watched.video, seen.watched.faces), (seen.reference, seen.reference_faces))
    clouds = [
        deep.expression_coefficients(
            seen.networks.plain["efid"], deep.face_crops(video, faces, deep.EXPRESSION_SIDE) if video and faces else ()
        )
        for video, faces in pairs
    ]
    return _distance(seen, "efid", *clouds)


PLAIN_GROUPS: Mapping[str, Callable[[_Seen], Values]] = {
    "container": _container,
    "sync": _sync,
    "face": _face,
    "picture": _picture,
    "hands": _hands,
    "reference": _reference,
    "expression": _expression,
}
DEEP_GROUPS: Mapping[str, Callable[[_Seen], Values]] = {
    "fid": _fid,
    "fvd": _fvd,
    "lpips": _lpips,
    "syncnet": _syncnet,
    "csim": _csim,
    "efid": _efid,
}


def try_measure(
    job: Job, settings: Settings, networks: Networks, progress: Progress | None = None
) -> Measured | InputError:
    """The same; a file that cannot be measured is returned as its error, so that it stops nobody else's."""
    try:
        return measure(job, settings, networks, progress)
    except InputError as error:
        return error
