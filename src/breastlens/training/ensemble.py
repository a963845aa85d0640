"""Several probes as one: the mean of their log-odds, each on the features of its own backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from breastlens.config import EnsembleWeights
from breastlens.evaluation.calibration import Calibration, choose_calibration
from breastlens.models.head import Head
from breastlens.training.probe import Probe, fit_probe, inner_folds

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ensemble(Probe):
    """Several probes in one head, which takes the features of all of them side by side.

    Attributes:
        members: The probes, each with its calibration.
        shares: What each counts in the log-odds; they add up to 1.
    """

    members: tuple[Probe, ...]
    shares: tuple[float, ...]


def fit_members(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    *,
    seed: int,
    widths: Sequence[int] = (),
    weights: EnsembleWeights = "equal",
) -> Probe:
    """Fit a probe to the features of each member, and make one of them.

    Each member is calibrated before they are averaged, so that none counts more for being too sure of itself; their
    mean is calibrated again, because a mean of log-odds that err on different images is too cautious. Weights and
    calibration are fitted on logits from inner folds, whose images the members did not learn from.

    Args:
        features: Of all members side by side, (n, d).
        labels: 0 or 1, (n,), both present.
        groups: What must stay together, (n,).
        seed: Decides the inner folds, which are the same for all members.
        widths: How many of the features are each member's; empty or one: a single probe, as from ``fit_probe``.
        weights: Whether the members count the same or as ``learn_shares`` says.

    Returns:
        A `Probe`, or of several members an `Ensemble`.

    Raises:
        SplitError: Only one class is present.
        ValueError: The widths do not add up to the features.
    """
    if len(widths) < 2:
        return fit_probe(features, labels, groups, seed=seed)
    if sum(widths) != features.shape[1]:
        raise ValueError(f"members with {sum(widths)} features were given {features.shape[1]}")
    blocks = np.split(features, np.cumsum(widths)[:-1], axis=1)
    members = tuple(fit_probe(block, labels, groups, seed=seed) for block in blocks)
    # without the bends of an isotonic member: one linear head is made of all
    inner = [
        member.calibration.unbend(member.inner_logits)
        for member in members
        if member.inner_logits is not None
    ]
    shares, calibration, joint_inner = np.full(len(members), 1 / len(members)), Calibration(), None
    if len(inner) == len(members):
        logits = np.stack(inner)
        if weights == "learnt":
            shares = learn_shares(logits, labels)
        joint = shares @ logits
        calibration = choose_calibration(joint, labels, groups, inner_folds(labels, groups, seed))
        joint_inner = calibration.apply(joint)
    return Ensemble(
        head=join_heads(
            [member.head for member in members], calibration.slope * shares, calibration.intercept
        ),
        calibration=calibration,
        strength=float("nan"),
        trials=(),
        inner_logits=joint_inner,
        members=members,
        shares=tuple(float(share) for share in shares),
    )


def join_heads(heads: Sequence[Head], weights: Floats, offset: float) -> Head:
    """One head on the features of all: its log-odds are the weighted sum of theirs, and an offset.

    Args:
        heads: One a member.
        weights: One a member, (m,).
        offset: Added in the end.
    """
    return Head(
        mean=np.concatenate([head.mean for head in heads]),
        scale=np.concatenate([head.scale for head in heads]),
        weight=np.concatenate([weight * head.weight for weight, head in zip(weights, heads, strict=True)]),
        bias=float(sum(weight * head.bias for weight, head in zip(weights, heads, strict=True))) + offset,
    )


def learn_shares(logits: Floats, labels: NDArray[np.integer]) -> Floats:
    """The shares of stacked members (Wolpert, Neural Networks 5, 1992) that give the smallest log loss.

    None is negative (Breiman, Machine Learning 24, 1996, "Stacked regressions"): members that agree would otherwise
    get large weights of opposite sign. A slope and an offset are fitted along with them.

    Args:
        logits: Of images that the members did not learn from, (m, n).
        labels: 0 or 1, (n,).

    Returns:
        (m,), adding up to 1; equal where no member tells the classes apart.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    count = len(logits)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        joint = parameters[:-1] @ logits + parameters[-1]
        residual = (expit(joint) - labels) / labels.size
        return (
            float(np.mean(np.logaddexp(0, joint) - labels * joint)),
            np.append(logits @ residual, residual.sum()),
        )

    start = np.append(np.full(count, 1 / count), 0.0)
    bounds = [(0.0, None)] * count + [(None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x[:-1]
    total = float(found.sum())
    return np.asarray(found / total if total > 1e-6 else np.full(count, 1 / count))
