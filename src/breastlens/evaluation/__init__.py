"""How good the scores are: metrics, operating point, calibration and intervals.

Pure numerics on arrays; nothing here knows of files, images or models.
"""

from breastlens.evaluation.calibration import Calibration, choose_calibration, fit_calibration
from breastlens.evaluation.intervals import auc_interval, metric_intervals, paired_difference
from breastlens.evaluation.metrics import auc, evaluate_scores, precision_recall_points, roc_points
from breastlens.evaluation.platt import apply_platt, fit_platt
from breastlens.evaluation.scalars import SCALAR_METRICS
from breastlens.evaluation.thresholds import OperatingPoint, Rule, choose_operating_point

__all__ = [
    "SCALAR_METRICS",
    "Calibration",
    "OperatingPoint",
    "Rule",
    "apply_platt",
    "auc",
    "auc_interval",
    "choose_calibration",
    "choose_operating_point",
    "evaluate_scores",
    "fit_calibration",
    "fit_platt",
    "metric_intervals",
    "paired_difference",
    "precision_recall_points",
    "roc_points",
]
