"""478 face landmarks with attention: the network in two parts, its custom operators, and faces followed over frames."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from echomimic.landmarks.networks.detection import FACE_SHORT_RANGE
from echomimic.landmarks.networks.files import read_file
from echomimic.landmarks.networks.regions import Region, from_box, from_points, merged
from echomimic.landmarks.networks.runtime import Network, custom_operators, network_outputs, sigmoid
from echomimic.types import Floats, Picture

_SIZE = 192
_EYE_CORNERS = (33, 263)
_IRISES = (468, 473)
_IRIS_POINTS = 5
_LID_POINTS = 16
"""The first points of an eye's list are its lids; their mean depth is the iris's."""


@dataclass(frozen=True)
class Part:
    """A part of the face that is refined: its landmarks in the mesh, and the crop of the features that is read.

    `subset` holds the landmarks' numbers; the line from `left` to `right` turns the crop, whose box is grown by
    `scale` and read at `size` x `size` points.
    """

    subset: list[int]
    left: int
    right: int
    scale: tuple[float, float]
    size: tuple[int, int]
    target: float

    @classmethod
    def read(cls, options: bytes) -> "Part":
        """The options of a Landmarks2TransformMatrix operator, a FlexBuffer."""
        from flatbuffers import flexbuffers

        found: dict[str, Any] = flexbuffers.Loads(options)
        return cls(
            [int(i) for i in np.ravel(found["subset_idxs"])],
            found["left_rotation_idx"],
            found["right_rotation_idx"],
            (found["scale_x"], found["scale_y"]),
            (found["output_width"], found["output_height"]),
            found["target_rotation_radians"],
        )

    def matrix(self, points: Floats) -> Floats:
        """Operator Landmarks2TransformMatrix: (4, 4), from pixels of the crop to the units of `points` (468, 3)."""
        across = points[self.right] - points[self.left]
        turn = float(np.arctan2(across[1], across[0])) - self.target
        cos, sin = np.cos(turn), np.sin(turn)
        rotation = np.array([[cos, -sin], [sin, cos]])
        upright = points[self.subset, :2] @ rotation
        low, high = upright.min(axis=0), upright.max(axis=0)
        found = np.eye(4, dtype=np.float32)
        found[:2, :2] = rotation * ((high - low) * self.scale / self.size)
        found[:2, 3] = rotation @ ((low + high) / 2) - found[:2, :2] @ (np.array(self.size) / 2)
        return found


def read_bilinear(features: Floats, matrix: Floats, size: tuple[int, int]) -> Floats:
    """Operator TransformTensorBilinear: `features` (H, W, C) at the pixels of a crop of `size`; zero outside."""
    height, width, channels = features.shape
    columns, rows = np.arange(size[0]) + 0.5, np.arange(size[1])[:, None] + 0.5
    x, y = ((matrix[i, 0] * columns + matrix[i, 1] * rows + (matrix[i, 3] - 0.5)).ravel() for i in (0, 1))
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    x, y = x - left, y - top
    corners = np.stack([top * width + left, top * width + right, bottom * width + left, bottom * width + right], axis=1)
    weights = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], axis=1) * inside[:, None]
    values = features.reshape(-1, channels).take(corners, axis=0)
    return np.matmul(weights[:, None].astype(np.float32), values).reshape(size[1], size[0], channels)


def transform_points(points: Floats, matrix: Floats) -> Floats:
    """Operator TransformLandmarks: x and y of `points` (N, 2) through `matrix` (4, 4)."""
    return np.asarray(points @ matrix[:2, :2].T + matrix[:2, 3], np.float32)


class AttentionMesh:
    """`face_landmark_with_attention`, cut at its custom operators.

    The first part gives the mesh, a map of features (48, 48, 32) and the presence. Crops of that map about the lips
    and the eyes go through the second part, which gives refined points in the units of the input.
    """

    def __init__(self) -> None:
        content = read_file("face_landmarks")
        operators = custom_operators(content)
        matrices, crops, points = (
            [operator for operator in operators if operator.name == name]
            for name in ("Landmarks2TransformMatrix", "TransformTensorBilinear", "TransformLandmarks")
        )
        outputs = network_outputs(content)
        self.parts = [Part.read(operator.options) for operator in matrices]
        self._coarse = Network("face_landmarks", outputs=(outputs[0], crops[0].inputs[0], outputs[-1]))
        self._fine = Network(
            "face_landmarks",
            inputs=[operator.outputs[0] for operator in crops],
            outputs=[operator.inputs[0] for operator in points],
        )

    def __call__(self, tensor: Floats, confidence: float) -> Floats | None:
        """Landmarks (478, 3) in pixels of the input (1, 192, 192, 3); None if no face is there."""
        mesh, features, presence = self._coarse(tensor)
        if sigmoid(presence)[0, 0, 0, 0] <= confidence:
            return None
        points = np.zeros((_IRISES[1] + _IRIS_POINTS, 3), np.float32)
        points[: _IRISES[0]] = mesh.reshape(-1, 3)
        quarter = points * np.float32(features.shape[1] / _SIZE)
        matrices = [part.matrix(quarter) for part in self.parts]
        crops = [
            read_bilinear(features[0], matrix, part.size)[None]
            for matrix, part in zip(matrices, self.parts, strict=True)
        ]
        for matrix in matrices:
            matrix[:2, 3] *= _SIZE / features.shape[1]
        lips, left, left_iris, right, right_iris = (found[0] for found in self._fine(*crops))
        for part, matrix, found in zip(self.parts, matrices, (lips, left, right), strict=True):
            points[part.subset, :2] = transform_points(found, matrix)
        for part, matrix, found, first in zip(
            self.parts[1:], matrices[1:], (left_iris, right_iris), _IRISES, strict=True
        ):
            iris = points[first : first + _IRIS_POINTS]
            iris[:, :2] = transform_points(found, matrix)
            iris[:, 2] = points[part.subset[:_LID_POINTS], 2].mean()
        return points


@cache
def attention_mesh() -> AttentionMesh:
    """The network, shared by all who use it."""
    return AttentionMesh()


def find_landmarks(pixels: Picture, region: Region, confidence: float) -> Floats | None:
    """Landmarks (478, 3) in pixels of the face in a region of the picture; None if no face is there."""
    points = attention_mesh()(region.crop(pixels, _SIZE), confidence)
    return None if points is None else region.to_picture(points / np.float32(_SIZE))


def region_of_landmarks(points: Floats) -> Region:
    """The region in which to search for a face with these landmarks in the next frame."""
    return from_points(points, *_EYE_CORNERS).squared(1.5)


class FaceMesh:
    """Finds up to `most` faces in pictures; with `video` it follows those of the picture before.

    The detector runs only while fewer than `most` faces are followed. Landmarks are not smoothed.
    """

    def __init__(self, *, video: bool = False, most: int = 1, confidence: float = 0.5) -> None:
        self.video, self.most, self.confidence = video, most, confidence
        self._followed: list[Region] = []

    def __call__(self, pixels: Picture) -> list[Floats]:
        """Landmarks (478, 3) in pixels of each face."""
        regions = self._followed
        if len(regions) < self.most:
            found = FACE_SHORT_RANGE(pixels, self.confidence)[: self.most]
            regions = merged([from_box(face.box, face.keypoints, 0, 1).squared(1.5) for face in found], regions)
        faces = [find_landmarks(pixels, region, self.confidence) for region in regions]
        seen = [face for face in faces if face is not None]
        if self.video:
            self._followed = [region_of_landmarks(face) for face in seen]
        return seen
