"""The deployable object: a trained network with everything that its answers depend on.

`save` writes it into a run, `load` reads it without any training code, `Classifier.predict` answers.
"""

from trainwell.classifier.classifier import AnyPredictions, Classifier
from trainwell.classifier.contract import Contract
from trainwell.classifier.labels import LabelPrediction, LabelPredictions
from trainwell.classifier.loading import load
from trainwell.classifier.numbers import NumberPrediction, NumberPredictions
from trainwell.classifier.predictions import Prediction, Predictions
from trainwell.classifier.saving import save

__all__ = [
    "AnyPredictions",
    "Classifier",
    "Contract",
    "LabelPrediction",
    "LabelPredictions",
    "NumberPrediction",
    "NumberPredictions",
    "Prediction",
    "Predictions",
    "load",
    "save",
]
