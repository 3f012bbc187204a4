"""A trained network that answers for image files, pixels and features."""

from contextlib import closing

import numpy as np
import torch
from torch import Tensor, nn

from trainwell.classifier.contract import Contract
from trainwell.classifier.inputs import read_inputs_of
from trainwell.classifier.labels import THRESHOLD, LabelPredictions
from trainwell.classifier.numbers import NumberPredictions
from trainwell.classifier.predictions import Predictions
from trainwell.classifier.reading import Source, decode_batches
from trainwell.core.task import TaskName
from trainwell.data.badfiles import files_invalid
from trainwell.data.decode import BadFile
from trainwell.data.preprocessing.fitting import Preprocessing
from trainwell.data.resize import ImageForm
from trainwell.data.samples import Scale
from trainwell.errors import OptionInvalid

# Input values that are computed at a time at most: 170 images of 128x128x3. The maps of a network are some ten times as
# large, so that more only costs memory.
MOST_VALUES = 2**23
LEVELS = Scale(1.0, is_float=True)

AnyPredictions = Predictions | NumberPredictions | LabelPredictions


class Classifier:
    """A trained network with everything that its answers depend on; `load` makes one.

    Attributes:
        contract: what it is, as plain data.
        preprocessing: fitted in training.
        model: in evaluation mode, batch norms folded.
        device: where it computes.
    """

    def __init__(
        self, contract: Contract, preprocessing: Preprocessing, model: nn.Module, device: torch.device
    ) -> None:
        self.contract = contract
        self.preprocessing = preprocessing
        self.model = model
        self.device = device

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, of the numbers or of the labels, in the order of the scores."""
        return self.contract.classes

    @property
    def task(self) -> TaskName:
        """What it answers: classes, numbers or labels."""
        return self.contract.task

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W) or (D,) of one sample."""
        return self.contract.input_shape

    @property
    def form(self) -> ImageForm | None:
        """What every image becomes, or None where it takes no image files."""
        return self.contract.form if self.contract.takes_files else None

    def __repr__(self) -> str:
        shown = ", ".join(self.classes[:4]) + (", ..." if len(self.classes) > 4 else "")
        return f"Classifier({self.contract.model}, {len(self.classes)} {self.task} ({shown}), input {self.input_shape})"

    def predict(
        self, inputs: object, *, threshold: float | None = None, batch_size: int = 256, skip_bad: bool = False
    ) -> AnyPredictions:
        """Return what the classifier says of each input: `Predictions`, `NumberPredictions` or `LabelPredictions`.

        Args:
            inputs: a path; a folder, for all image files in it and below; bytes of an image file; a Pillow image;
                an array (H, W) or (H, W, C) of 8 or 16 bits with 1, 3 or 4 channels; a list of these; one array
                (N, H, W), (N, H, W, C) or (N, C, H, W); features (N, D), or the path of a table whose columns have the
                names of the training table's. Images have any size. Files and Pillow
                images are turned as their EXIF part says, transparency is laid on white, and of an animated file the
                first frame counts. Arrays are on the scale that training arrays were on (`contract.scale`), whatever
                they hold: nothing is guessed from them. A classifier that was trained on files, or on whole numbers,
                takes no floats, since these do not say whether white is 1 or 255; after files it takes uint8 to 255
                and uint16 to 65535.
            threshold: of classes, confidence in [0, 1] below which the answer is "don't know", 0 where not given; of
                labels, probability from which one is true, 1/2 where not given. Numbers have none.
            batch_size: samples computed at a time at most; fewer of large images.
            skip_bad: leave files that cannot be used out, and name them in `skipped`, instead of an error.

        Raises:
            FilesInvalid: images cannot be used; names all of them at once.
            DataInvalid: nothing to answer for, nothing that it takes, or numbers outside the range of training.
            ShapeError: an array of another shape than it was trained on.
            OptionInvalid: threshold or batch_size outside its range, or a threshold for numbers.
        """
        if threshold is not None and self.task == "numbers":
            raise OptionInvalid(f"threshold={threshold}: this network answers numbers, which have no probabilities")
        threshold = (THRESHOLD if self.task == "labels" else 0.0) if threshold is None else threshold
        if isinstance(threshold, bool) or not 0 <= threshold <= 1:
            raise OptionInvalid(f"threshold is a confidence from 0 to 1, got {threshold!r}")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise OptionInvalid(f"batch_size must be a whole number >= 1, got {batch_size!r}")
        found = read_inputs_of(inputs, self.contract)
        return self._answer(found, float(threshold), batch_size, skip_bad=skip_bad)

    def predict_levels(self, arrays: np.ndarray | Tensor) -> AnyPredictions:
        """Return what the classifier says of arrays that a source has brought to 0 to 255 already, or of features.

        Args:
            arrays: as in `Samples`, or a batch of a stream.

        Raises:
            DataInvalid: numbers that are no image's.
            ShapeError: an array of another shape than it was trained on.
        """
        is_kept = self.contract.dtype == "float32" and self.contract.scale is None
        contract = self.contract if is_kept else self.contract.model_copy(update={"scale": LEVELS})
        threshold = THRESHOLD if self.task == "labels" else 0.0
        return self._answer(read_inputs_of(arrays, contract), threshold, 256, skip_bad=False)

    def _answer(
        self, found: list[Source] | Tensor, threshold: float, batch_size: int, *, skip_bad: bool
    ) -> AnyPredictions:
        batch_size = min(batch_size, max(1, MOST_VALUES // int(np.prod(self.input_shape))))
        if isinstance(found, Tensor):
            parts = [self.answers(piece) for piece in found.split(batch_size)]
            return self.told(np.concatenate(parts), tuple(f"row {row}" for row in range(len(found))), threshold)
        return self._predict_sources(found, threshold, batch_size, skip_bad=skip_bad)

    @torch.no_grad()
    def logits(self, samples: Tensor) -> Tensor:
        """Return (N, K) raw scores, on the CPU, of samples in the form of training, before any preprocessing.

        Args:
            samples: (N, C, H, W) images or (N, D) features, N as large as memory allows.
        """
        scores: Tensor = self.model(self.preprocessing.apply(samples.to(self.device))).float().cpu()
        return scores

    def probabilities(self, samples: Tensor) -> Tensor:
        """Return the softmax of `logits` at the temperature of the classifier: (N, K), each row sums to 1."""
        return (self.logits(samples) / self.contract.temperature).softmax(1)

    def answers(self, samples: Tensor) -> np.ndarray:
        """Return probabilities (N, K) of classes or labels, or numbers (N, M), for samples as `logits` takes them."""
        return self.contract.answers(self.logits(samples))

    def told(
        self, answers: np.ndarray, names: tuple[str, ...], threshold: float, skipped: tuple[BadFile, ...] = ()
    ) -> AnyPredictions:
        """Return `answers` to inputs of these names in the form of the task."""
        if self.task == "numbers":
            return NumberPredictions(answers, self.classes, names, skipped)
        kind = LabelPredictions if self.task == "labels" else Predictions
        return kind(answers, self.classes, names, threshold, skipped)

    def _predict_sources(
        self, sources: list[Source], threshold: float, batch_size: int, *, skip_bad: bool
    ) -> AnyPredictions:
        assert self.contract.form is not None, "only such classifiers are given files"
        names: list[str] = []
        parts: list[np.ndarray] = []
        bad: list[BadFile] = []
        with closing(decode_batches(sources, self.contract.form, batch_size=batch_size)) as batches:
            for decoded in batches:
                bad += decoded.bad
                if bad and not skip_bad:
                    continue  # the rest is decoded only to name all that is wrong at once
                if decoded.names:
                    names += decoded.names
                    parts.append(self.answers(torch.from_numpy(decoded.pixels).permute(0, 3, 1, 2)))
        if bad and (not skip_bad or not names):
            raise files_invalid(bad, len(sources), None)
        return self.told(np.concatenate(parts), tuple(names), threshold, tuple(bad))
