"""The Fréchet distance between two clouds of features, each taken for a Gaussian (Dowson and Landau 1982)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SMALLEST = 1e-12
"""Share of the spread below which a distance is rounding."""
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gaussian:
    """`mean` (d,) and `covariance` (d, d)."""

    mean: Doubles
    covariance: Doubles


def fit_gaussian(features: npt.ArrayLike) -> Gaussian:
    """Mean and unbiased covariance of features (n, d), n > 1, in double precision."""
    rows = np.asarray(features, np.float64)
    mean = rows.mean(axis=0)
    centred = rows - mean
    return Gaussian(mean, centred.T @ centred / (len(rows) - 1))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), as Heusel et al. 2017 use it; 0 for equal Gaussians, never below.

    The trace of the root is the sum of the roots of the eigenvalues of C1^½ C2 C1^½, which is symmetric: so no complex
    numbers arise where a covariance is singular.
    """
    root = _root(one.covariance)
    shared = np.linalg.eigvalsh(_symmetric(root @ other.covariance @ root))
    cross = np.sqrt(np.clip(shared, 0, None)).sum()
    shift = one.mean - other.mean
    spread = np.trace(one.covariance) + np.trace(other.covariance)
    distance = float(shift @ shift + spread - 2 * cross)
    return distance if distance > _SMALLEST * spread else 0.0


def _root(matrix: Doubles) -> Doubles:
    values, vectors = np.linalg.eigh(_symmetric(matrix))
    root: Doubles = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root


def _symmetric(matrix: Doubles) -> Doubles:
    result: Doubles = (matrix + matrix.T) / 2
    return result
