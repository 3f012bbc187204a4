"""Layers usable alone in plain PyTorch: activations, normalization, dropout, reparametrized weights."""

from trainwell.layers.choosing import gain_of, make_activation, make_norm, widening
from trainwell.layers.dropout import dropout_for
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.layers.parametrize import remove_weight_norm_, start_weight_norm_, weight_norm_

__all__ = [
    "Hidden",
    "NormOrder",
    "dropout_for",
    "gain_of",
    "make_activation",
    "make_norm",
    "remove_weight_norm_",
    "start_weight_norm_",
    "weight_norm_",
    "widening",
]
