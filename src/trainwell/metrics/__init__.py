"""How good answers are: every number with its interval, from the answers and the truth alone.

Works on arrays, without torch: the report and the web page use it on stored predictions.
"""

from trainwell.metrics.calibration import Calibration, Coverage, calibration, coverage
from trainwell.metrics.cases import least_certain, likely_label_errors, most_wrong, shown
from trainwell.metrics.labels import LabelMetrics, measure_labels
from trainwell.metrics.numbers import NumberMetric, NumberMetrics, measure_numbers
from trainwell.metrics.summary import ClassMetrics, Metrics, measure
from trainwell.metrics.tasks import AnyMetrics, measure_task
from trainwell.metrics.temperature import at_temperature, temperature

__all__ = [
    "AnyMetrics",
    "Calibration",
    "ClassMetrics",
    "Coverage",
    "LabelMetrics",
    "Metrics",
    "NumberMetric",
    "NumberMetrics",
    "at_temperature",
    "calibration",
    "coverage",
    "least_certain",
    "likely_label_errors",
    "measure",
    "measure_labels",
    "measure_numbers",
    "measure_task",
    "most_wrong",
    "shown",
    "temperature",
]
