"""The preprocessing whose numbers are known beforehand."""

import pytest
import torch

from trainwell.core.shelves import preprocessings
from trainwell.errors import DataInvalid, OptionInvalid

MEAN, STD = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))


def photos(count: int = 20) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_it_is_x_over_255_minus_the_mean_over_the_deviation() -> None:
    made = preprocessings.build("fixed")
    made.fit(photos())
    expected = (photos().double() / 255 - MEAN.double().view(3, 1, 1)) / STD.double().view(3, 1, 1)
    torch.testing.assert_close(made.apply(photos(), dtype=torch.float64), expected, rtol=1e-6, atol=1e-6)


def test_nothing_of_the_data_goes_into_it() -> None:
    one, other = preprocessings.build("fixed"), preprocessings.build("fixed")
    one.fit(photos())
    other.fit(torch.zeros_like(photos()))
    assert torch.equal(one.apply(photos()), other.apply(photos()))


def test_floats_are_taken_in_their_own_unit() -> None:
    made = preprocessings.build("fixed", {"mean": [0.5], "std": [0.25]})
    made.fit(photos() / 255)
    torch.testing.assert_close(made.apply(photos() / 255), (photos() / 255 - 0.5) / 0.25)


def test_half_and_half_is_what_torchvision_makes_of_inputs_for_its_googlenet() -> None:
    """Its `transform_input` undoes the standardization with ImageNet's numbers and goes to [-1, 1]."""
    standardized = (photos().double() / 255 - MEAN.double().view(3, 1, 1)) / STD.double().view(3, 1, 1)
    transformed = torch.stack(
        [
            standardized[:, 0] * (0.229 / 0.5) + (0.485 - 0.5) / 0.5,
            standardized[:, 1] * (0.224 / 0.5) + (0.456 - 0.5) / 0.5,
            standardized[:, 2] * (0.225 / 0.5) + (0.406 - 0.5) / 0.5,
        ],
        1,
    )
    made = preprocessings.build("fixed", {"mean": [0.5] * 3, "std": [0.5] * 3})
    made.fit(photos())
    torch.testing.assert_close(made.apply(photos(), dtype=torch.float64), transformed, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("shape", "words"), [((4, 1, 6, 5), "a grey image has one"), ((4, 7), "data have 7")])
def test_other_channels_are_refused_with_the_cure(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(DataInvalid, match=f"of 3 channels.*{words}.*data.color=rgb"):
        preprocessings.build("fixed").fit(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"std": [0.2, 0.0, 0.2]}, "fixed:std must be a list of numbers > 0"),
        ({"mean": []}, "fixed:mean must be"),
        ({"mean": [0.5]}, "of as many channels, got 1 and 3"),
    ],
)
def test_numbers_that_cannot_be_are_refused(options: dict[str, list[float]], words: str) -> None:
    with pytest.raises(OptionInvalid, match=words):
        preprocessings.build("fixed", options)
