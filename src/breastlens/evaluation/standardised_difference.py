"""How far two groups lie apart in a characteristic, in units that do not depend on how many they are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def difference_of_means(first: ArrayLike, second: ArrayLike) -> float | None:
    """Give the absolute difference of two means over the root of the mean of the two variances.

    Austin, Statistics in Medicine 28, 2009; 0.1 is usually taken as negligible.

    Args:
        first: Finite numbers, (n,).
        second: Finite numbers, (m,).

    Returns:
        None where a group has fewer than two values, or neither varies and they differ.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if min(one.size, other.size) < 2:
        return None
    distance = abs(float(one.mean() - other.mean()))
    spread = math.sqrt((float(one.var(ddof=1)) + float(other.var(ddof=1))) / 2)
    if spread == 0:
        return 0.0 if distance == 0 else None
    return distance / spread


def difference_of_shares(first: ArrayLike, second: ArrayLike) -> float | None:
    """Give the standardised difference of two distributions over the same categories.

    It is the Mahalanobis distance of the shares with the mean of the two multinomial covariances (Yang and Dalton, SAS
    Global Forum 335, 2012); with two categories, Austin's for a proportion.

    Args:
        first: Counts of each category, (k,).
        second: Counts of the same categories in the same order, (k,).

    Returns:
        None where a group is empty, or where the groups are so apart that no variance is left.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.sum() == 0 or other.sum() == 0:
        return None
    shares = [group / group.sum() for group in (one, other)]
    gap = shares[0] - shares[1]
    if not np.any(gap):
        return 0.0
    covariance = sum(np.diag(share) - np.outer(share, share) for share in shares) / 2
    # The shares add up to 1, so the covariance has no inverse; the pseudo-inverse gives what leaving out any one
    # category would, as long as the gap lies in its range.
    inverse = np.linalg.pinv(covariance, hermitian=True)
    if not np.allclose(covariance @ (inverse @ gap), gap):
        return None
    return math.sqrt(max(0.0, float(gap @ inverse @ gap)))
