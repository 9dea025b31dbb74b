"""The tables of the face mesh agree with each other."""

import numpy as np
import pytest

from echomimic.landmarks import topology


def test_triangles_of_the_skin_are_those_of_the_published_tessellation():
    connections = pytest.importorskip("mediapipe.python.solutions.face_mesh_connections")
    published = {tuple(sorted(edge)) for edge in connections.FACEMESH_TESSELATION}
    openings = {*topology.INNER_LIPS, *topology.RIGHT_EYE, *topology.LEFT_EYE}
    skin = [t for t in topology.triangles().tolist() if not openings.issuperset(t)]
    assert len(skin) > 800
    assert all(tuple(sorted((t[i], t[j]))) in published for t in skin for i, j in ((0, 1), (1, 2), (0, 2)))


def test_every_region_lies_on_the_mesh_and_regions_share_no_point():
    points = [index for region in topology.REGIONS.values() for index in region]
    assert len(points) == len(set(points)) and 0 <= min(points) <= max(points) < topology.POINTS


def test_mirrors_undo_themselves():
    for mirrored in (topology.MIRRORED_BODY, topology.MIRRORED_FACE_68):
        np.testing.assert_array_equal(np.array(mirrored)[list(mirrored)], np.arange(len(mirrored)))
