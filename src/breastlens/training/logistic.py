"""L2-penalised logistic regression: many fits on one set of images at once.

A cross-validated choice of the penalty fits the same images a hundred times, with other weights and strengths. Side by
side those fits are products of matrices, which a processor does many times faster than as many products of a matrix and
a vector.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

GRADIENT_TOLERANCE = 1e-5
"""A fit is done when no entry of the gradient of its mean loss exceeds this, as in scikit-learn's tolerance."""

_MOST_STEPS = 1_000
_MEMORY = 10
_SUFFICIENT_DECREASE = 1e-4
_SMALLEST_STEP = 1e-10
_STEPS_PER_CURVATURE = 5
"""The diagonal of the Hessian changes slowly, and costs half as much as a step."""

_LEAST_CURVATURE = 1e-12


def fit_logistic(
    features: Floats, labels: NDArray[np.integer], weights: Floats, strengths: Floats
) -> tuple[Floats, Floats]:
    """Minimise ``sum(weight * log-loss) + |coefficients|^2 / (2 * strength)`` for each column of weights.

    All fits take steps of L-BFGS (Liu and Nocedal, Mathematical Programming 45, 1989) together, each with its own
    memory and step length; those that are done drop out. The inverse Hessian that the memory corrects is the exact
    diagonal, renewed now and then, which is close to the whole where features are principal components.

    Args:
        features: (n, d).
        labels: 0 or 1, (n,).
        weights: Of each image in each fit, (n, p), 0 or more; 0 leaves it out.
        strengths: Of each fit the inverse of its penalty, scikit-learn's C, (p,).

    Returns:
        Coefficients (d, p) and intercepts (p,); intercepts are not penalised.
    """
    fits = _Fits.start(features, labels, weights, strengths)
    solution = np.zeros_like(fits.solution)
    columns = np.arange(strengths.size)
    for step in range(_MOST_STEPS):
        if step % _STEPS_PER_CURVATURE == 0:
            fits.measure_curvature()
        stuck = fits.step()
        done = stuck | (np.abs(fits.gradient).max(axis=0) <= GRADIENT_TOLERANCE)
        if done.any():
            solution[:, columns[done]] = fits.solution[:, done]
            columns = columns[~done]
            if not columns.size:
                break
            fits.keep(~done)
    else:
        logger.info("%d logistic regressions were not done after %d steps", columns.size, _MOST_STEPS)
        solution[:, columns] = fits.solution
    return solution[:-1], solution[-1]


@dataclass(eq=False)
class _Fits:
    """The state of all fits that are not done: a column each. The last row of a solution is the intercept."""

    inputs: Floats
    targets: Floats
    share: Floats
    penalty: Floats
    solution: Floats
    logits: Floats
    loss: Floats
    gradient: Floats
    curvature: Floats
    moved: list[Floats] = field(default_factory=list)
    turned: list[Floats] = field(default_factory=list)
    """By how much solution and gradient changed in the last steps; ``scales`` is one over their products."""
    scales: list[Floats] = field(default_factory=list)

    @classmethod
    def start(
        cls, features: Floats, labels: NDArray[np.integer], weights: Floats, strengths: Floats
    ) -> _Fits:
        """Everything at zero; weights and penalty are divided by the sum of the weights, for a mean loss."""
        total = weights.sum(axis=0)
        inputs = np.concatenate([features, np.ones((len(features), 1))], axis=1)
        penalty = np.repeat(1 / (strengths * total)[None], inputs.shape[1], axis=0)
        penalty[-1] = 0
        zeros = np.zeros_like(penalty)
        fits = cls(
            inputs,
            np.asarray(labels, dtype=np.float64)[:, None],
            weights / total,
            penalty,
            solution=zeros,
            logits=np.zeros_like(weights),
            loss=zeros[0],
            gradient=zeros,
            curvature=zeros,
        )
        fits.loss = fits.loss_at(fits.logits, fits.solution)
        fits.gradient = fits.gradient_at(fits.logits, fits.solution)
        return fits

    def loss_at(self, logits: Floats, solution: Floats) -> Floats:
        """Mean loss and penalty of each fit, (p,)."""
        losses = np.logaddexp(0, logits) - self.targets * logits
        return _sums(self.share, losses) + 0.5 * _sums(self.penalty, solution**2)

    def gradient_at(self, logits: Floats, solution: Floats) -> Floats:
        """Of the loss, (d + 1, p)."""
        from scipy.special import expit

        residuals = self.share * (expit(logits) - self.targets)
        return np.asarray(self.inputs.T @ residuals + self.penalty * solution)

    def measure_curvature(self) -> None:
        """The diagonal of the Hessian, (d + 1, p)."""
        from scipy.special import expit

        slope = expit(self.logits)
        slope *= 1 - slope
        slope *= self.share
        self.curvature = np.maximum((self.inputs**2).T @ slope + self.penalty, _LEAST_CURVATURE)

    def step(self) -> NDArray[np.bool_]:
        """Move every fit downhill; tells which could not be moved any more."""
        direction = self._direction()
        falls = _sums(self.gradient, direction)
        along = self.inputs @ direction
        length = np.ones_like(self.loss)
        while True:
            logits, solution = self.logits + length * along, self.solution + length * direction
            loss = self.loss_at(logits, solution)
            short = loss > self.loss + _SUFFICIENT_DECREASE * length * falls
            if not np.any(short & (length > _SMALLEST_STEP)):
                break
            length = np.where(short, length / 2, length)
        logits, solution = np.where(short, self.logits, logits), np.where(short, self.solution, solution)
        gradient = self.gradient_at(logits, solution)
        self._remember(solution - self.solution, gradient - self.gradient)
        self.logits, self.solution, self.gradient = logits, solution, gradient
        self.loss = np.where(short, self.loss, loss)
        return short

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Go on with some of the fits."""
        for name in ("share", "penalty", "solution", "logits", "loss", "gradient", "curvature"):
            setattr(self, name, getattr(self, name)[..., chosen])
        for name in ("moved", "turned", "scales"):
            setattr(self, name, [each[..., chosen] for each in getattr(self, name)])

    def _direction(self) -> Floats:
        """Minus the gradient times the inverse Hessian that the memory gives (the two loops of L-BFGS)."""
        direction, factors = -self.gradient, []
        memory = list(zip(self.moved, self.turned, self.scales, strict=True))
        for moved, turned, scale in reversed(memory):
            factors.append(scale * _sums(moved, direction))
            direction -= factors[-1] * turned
        direction /= self.curvature
        for (moved, turned, scale), factor in zip(memory, reversed(factors), strict=True):
            direction += (factor - scale * _sums(turned, direction)) * moved
        return direction

    def _remember(self, moved: Floats, turned: Floats) -> None:
        product = _sums(moved, turned)
        # the loss is convex: only rounding makes this product anything but positive, and then it is not used
        usable = product > 0
        self.moved.append(moved)
        self.turned.append(turned)
        self.scales.append(np.where(usable, 1 / np.where(usable, product, 1.0), 0.0))
        if len(self.moved) > _MEMORY:
            for kept in (self.moved, self.turned, self.scales):
                del kept[0]


def _sums(left: Floats, right: Floats) -> Floats:
    """The sum over rows of the products, for each column."""
    return np.asarray(np.einsum("ij,ij->j", left, right))
