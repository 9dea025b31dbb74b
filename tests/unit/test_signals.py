"""Runs, smoothing, values between samples and filled gaps."""

import numpy as np
import pytest

from echomimic.signals import fill_gaps, gaussian_smooth, runs, sample_at


def test_runs_are_start_and_stop_of_each_true_stretch():
    assert runs(np.array([1, 1, 0, 0, 1, 0, 1], bool)) == [(0, 2), (4, 5), (6, 7)]
    assert runs(np.zeros(3, bool)) == [] and runs(np.zeros(0, bool)) == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_smoothing_keeps_constants_length_and_dtype(dtype):
    smooth = gaussian_smooth(np.full(9, 3, dtype), 2.5)
    assert smooth.dtype == dtype and smooth == pytest.approx(np.full(9, 3))
    step = gaussian_smooth(np.repeat(np.array([0, 1], dtype), 50), 4)
    assert step[0] == 0 and step[-1] == pytest.approx(1) and (np.diff(step) >= -1e-6).all()
    assert step[49] + step[50] == pytest.approx(1, abs=1e-6)


def test_samples_between_frames_are_linear_and_exact_on_frames():
    values = np.array([[0, 10], [2, 30], [4, 10]], np.float32)
    found = sample_at(values, np.array([0, 0.25, 1, 2]))
    np.testing.assert_array_equal(found, np.array([[0, 10], [0.5, 15], [2, 30], [4, 10]]))


def test_gaps_are_bridged_and_ends_held():
    values = np.array([9, 1, 9, 9, 4, 9], np.float64)[:, None]
    known = np.array([0, 1, 0, 0, 1, 0], bool)
    assert fill_gaps(values, known)[:, 0] == pytest.approx([1, 1, 2, 3, 4, 4])
