"""What training minimizes: one value per sample, never averaged inside, so that every sample can count as it should."""

from trainwell.losses.binary import binary_cross_entropy, sigmoid_cross_entropy
from trainwell.losses.criterion import Criterion
from trainwell.losses.margin import hinge, squared_hinge, sum_of_hinges, sum_of_squared_hinges
from trainwell.losses.softmax import cross_entropy, smooth_cross_entropy
from trainwell.losses.squared import mean_squares, squared_error
from trainwell.losses.weights import class_weights

__all__ = [
    "Criterion",
    "binary_cross_entropy",
    "class_weights",
    "cross_entropy",
    "hinge",
    "mean_squares",
    "sigmoid_cross_entropy",
    "smooth_cross_entropy",
    "squared_error",
    "squared_hinge",
    "sum_of_hinges",
    "sum_of_squared_hinges",
]
