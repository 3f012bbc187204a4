"""Open shelf of initial weights: schemes, data-dependent ones, and those for residual networks; for any network.

`initialize(model, "he:mode=fan_out")` takes a member of the shelf by name; the functions that end in `_` change a
network in place and return what they set, and what they left alone and why.
"""

from trainwell.initialization.between_layer import between_layer_
from trainwell.initialization.data_dependent import lsuv_, within_layer_
from trainwell.initialization.fixup import FixupUnit, fixup_
from trainwell.initialization.from_patches import kmeans_, pca_
from trainwell.initialization.last_layer import scale_last_layer_
from trainwell.initialization.report import Entry, Report
from trainwell.initialization.residual import zero_gamma_
from trainwell.initialization.scheme import Initialization, Scheme, initialize

__all__ = [
    "Entry",
    "FixupUnit",
    "Initialization",
    "Report",
    "Scheme",
    "between_layer_",
    "fixup_",
    "initialize",
    "kmeans_",
    "lsuv_",
    "pca_",
    "scale_last_layer_",
    "within_layer_",
    "zero_gamma_",
]
