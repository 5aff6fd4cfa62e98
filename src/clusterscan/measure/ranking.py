"""Areas under the ROC and precision-recall curves, for many weightings of the same scores."""

from __future__ import annotations

import numpy as np


class Ranking:
    """Scores in falling order, ready to be weighted again and again.

    Parameters
    ----------
    is_positive : bool ndarray, shape (n,)
        Whether an example is of the class.
    score : float ndarray, shape (n,)
        Equal scores are one threshold, as in scikit-learn.
    """

    def __init__(self, is_positive: np.ndarray, score: np.ndarray):
        self.order = np.argsort(-score, kind="stable")
        self.is_positive = is_positive[self.order]
        falling = score[self.order]
        self.first = np.flatnonzero(np.append(True, np.diff(falling) != 0)[: len(falling)])

    def areas(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ROC area and average precision under each row of weights.

        Parameters
        ----------
        weight : float ndarray, shape (draws, n)
            In the order of the scores given.

        Returns
        -------
        roc_auc, average_precision : float ndarray, shape (draws,)
            NaN where positives (or, for the ROC area, others) have no weight.

        Notes
        -----
        The ROC area is the chance that a positive scores above a negative, ties one half;
        average precision is the sum over thresholds of (recall gained) x precision.
        """
        if not self.first.size:
            nothing = np.full(len(weight), np.nan)
            return nothing, nothing.copy()
        weight = weight[:, self.order]
        # positives and all examples at each threshold, then above it
        gained = self._per_threshold(weight * self.is_positive)
        all_gained = self._per_threshold(weight)
        true, said = gained.cumsum(axis=1), all_gained.cumsum(axis=1)
        positives, total = true[:, -1], said[:, -1]
        precision = np.divide(true, said, out=np.zeros_like(true), where=said > 0)
        below_and_half = (true - gained / 2) * (all_gained - gained)
        with np.errstate(invalid="ignore", divide="ignore"):
            area = below_and_half.sum(axis=1) / (positives * (total - positives))
            average = (gained * precision).sum(axis=1) / positives
        defined = positives > 0
        both = defined & (total - positives > 0)
        return np.where(both, area, np.nan), np.where(defined, average, np.nan)

    def _per_threshold(self, values: np.ndarray) -> np.ndarray:
        if len(self.first) == values.shape[1]:
            return values
        return np.add.reduceat(values, self.first, axis=1)
