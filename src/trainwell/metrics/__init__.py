"""How good a classifier is: every number with its interval, from probabilities and classes alone.

Works on arrays, without torch: the report and the web page use it on stored predictions.
"""

from trainwell.metrics.calibration import Calibration, Coverage, calibration, coverage
from trainwell.metrics.cases import least_certain, likely_label_errors, most_wrong, shown
from trainwell.metrics.summary import ClassMetrics, Metrics, measure
from trainwell.metrics.temperature import at_temperature, temperature

__all__ = [
    "Calibration",
    "ClassMetrics",
    "Coverage",
    "Metrics",
    "at_temperature",
    "calibration",
    "coverage",
    "least_certain",
    "likely_label_errors",
    "measure",
    "most_wrong",
    "shown",
    "temperature",
]
