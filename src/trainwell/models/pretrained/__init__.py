"""Trained weights from elsewhere: published ones by name, files and folders, and how they come into a network."""

from trainwell.models.pretrained.head import head_of
from trainwell.models.pretrained.loading import find, load_weights
from trainwell.models.pretrained.mapping import Loaded, load_into
from trainwell.models.pretrained.published import published
from trainwell.models.pretrained.reading import from_file
from trainwell.models.pretrained.weights import Pretrained

__all__ = ["Loaded", "Pretrained", "find", "from_file", "head_of", "load_into", "load_weights", "published"]
