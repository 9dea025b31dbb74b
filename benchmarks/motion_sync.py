"""V1's motion sync as the original does it, faults included, for whoever has metric faces.

It needs what mediapipe's face geometry gives (a metric mesh and a pose for each frame) and the program's own landmarker
does not; `align_motion` is what everybody else wants. This one exists so that results can be compared.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echomimic.landmarks.topology import IRISES, LEFT_BROW, LEFT_EYE, LIPS, NOSE_END, RIGHT_BROW, RIGHT_EYE
from echomimic.types import LandmarkTrack

Array = npt.NDArray[np.float64]

SIDE = 512
HALF_VIEW = np.radians(31.5)
"""Half of the camera's vertical field of view."""
_SKEW = 1.0001
"""What the original multiplies depth by: an entry of a projection matrix that is used transposed; it should be 1."""
_SMOOTH_HEAD, _SMOOTH_FACE = 2, 1
_PARTS = (
    tuple(sorted((*LEFT_EYE, 473))),
    tuple(sorted((*RIGHT_EYE, 468))),
    tuple(sorted(LIPS)),
    tuple(sorted(NOSE_END)),
    tuple(sorted(LEFT_BROW)),
    tuple(sorted(RIGHT_BROW)),
)


@dataclass(frozen=True)
class MetricFaces:
    """Faces in centimetres before a camera: `landmarks` (T, 478, 3) as shares of the picture, `mesh` (T, 468, 3) in the
    head's own frame, and `poses` (T, 4, 4), each of which takes that frame to the camera's."""

    landmarks: Array
    mesh: Array
    poses: Array


def sync_exactly(driver: MetricFaces, reference: MetricFaces) -> LandmarkTrack:
    """The driver's motion on the reference's face (its first frame): (T, 478) on a canvas of 512x512 at 24 fps.

    Each part of the face (eyes, mouth, nose, brows) is moved by the affine map that takes the driver's mean part to the
    reference's; all other points stay the driver's. Heads turn against the driver's first frame.
    """
    moving, still = _with_irises(driver), _with_irises(reference)[0]
    mean = moving.mean(axis=0)
    faces = _running_mean(moving, _SMOOTH_FACE)
    for part in (list(part) for part in _PARTS):
        faces[:, part] = apply_affine(fit_affine(mean[part], still[part]), faces[:, part])
    turns = _running_mean(driver.poses @ np.linalg.inv(driver.poses[0]), _SMOOTH_HEAD)
    pixels = _project(apply_affine(turns @ reference.poses[0], faces))
    points = np.concatenate([pixels, np.zeros((*pixels.shape[:2], 1))], axis=-1).astype(np.float32)
    return LandmarkTrack(points, (SIDE, SIDE), 24.0, np.ones(len(points), bool))


def _with_irises(faces: MetricFaces) -> Array:
    """The meshes with ten iris points, brought from the landmarks by the map that fits the contours of both eyes."""
    eyes, irises = sorted(LEFT_EYE + RIGHT_EYE), list(IRISES)
    added = [
        apply_affine(fit_affine(landmarks[eyes], mesh[eyes]), landmarks[irises])
        for landmarks, mesh in zip(faces.landmarks, faces.mesh, strict=True)
    ]
    return np.concatenate([faces.mesh, np.stack(added)], axis=1)


def fit_affine(source: Array, target: Array) -> Array:
    """The 4x4 affine map from `source` to `target` (N, 3) that total least squares gives (Hartley's normalised DLT)."""
    home, start = _normalising(source), _normalising(target)
    a, b = apply_affine(home, source), apply_affine(start, target)
    count = len(a)
    system = np.zeros((3 * count, 13))
    for axis in range(3):
        rows = slice(axis * count, (axis + 1) * count)
        system[rows, 4 * axis : 4 * axis + 3] = a
        system[rows, 4 * axis + 3] = 1
        system[rows, 12] = b[:, axis]
    solution = np.linalg.svd(system)[2][-1]
    fitted = np.eye(4)
    fitted[:3] = (-solution[:12] / solution[12]).reshape(3, 4)
    result: Array = np.linalg.inv(start) @ fitted @ home
    return np.asarray(result / result[3, 3])


def _normalising(points: Array) -> Array:
    """The map that brings points to a mean of 0 and a root mean square distance of sqrt(3)."""
    centre = points.mean(axis=0)
    scale = np.sqrt(3) / np.sqrt(((points - centre) ** 2).sum() / len(points))
    matrix = np.eye(4)
    matrix[:3, :3] *= scale
    matrix[:3, 3] = -scale * centre
    return matrix


def apply_affine(matrices: Array, points: Array) -> Array:
    """Points (..., N, 3) moved by a 4x4 map or by one map for each frame (T, 4, 4)."""
    turned: Array = points @ np.swapaxes(matrices[..., :3, :3], -1, -2) + matrices[..., None, :3, 3]
    return turned


def _running_mean(values: Array, reach: int) -> Array:
    """The plain mean over up to `reach` frames on either side, fewer at the ends."""
    return np.stack([values[max(0, i - reach) : i + reach + 1].mean(axis=0) for i in range(len(values))])


def _project(points: Array) -> Array:
    """Points before the camera as pixels of 512x512; the divisor is off by 1e-4, because the original transposes."""
    focal = 1 / np.tan(HALF_VIEW)
    depth = -_SKEW * points[..., 2:]
    return np.asarray((focal * points[..., :2] * (1, -1) / depth + 1) / 2 * SIDE)
