"""Rates by depth and by name: which block is how far from the output, and which pattern counts."""

from typing import Any

import pytest
import torch
from torch import nn

from trainwell.core.rates import RatesSection
from trainwell.core.recipe import Recipe
from trainwell.core.shelves import models
from trainwell.errors import OptionInvalid, RecipeInvalid
from trainwell.optimizers.depth import blocks, rate_factors
from trainwell.optimizers.groups import parameter_groups
from trainwell.optimizers.sgd import sgd


class Staged(nn.Module):
    """A token of its own, a stem, a stage of two blocks, a norm, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))
        self.stem = nn.Linear(3, 4)
        self.stage = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), nn.ReLU())
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)


def factors_of(groups: list[dict[str, Any]]) -> dict[str, float]:
    return {name: group.get("lr_factor", 1.0) for group in groups for name in group["param_names"]}


def test_each_block_further_from_the_output_learns_by_one_more_factor() -> None:
    factors = factors_of(parameter_groups(Staged(), rates=RatesSection(per_depth=0.5)))
    assert factors == {
        "token": 0.125, "stem.weight": 0.125, "stem.bias": 0.125,
        "stage.0.weight": 0.25, "stage.0.bias": 0.25,
        "stage.1.0.weight": 0.5, "stage.1.0.bias": 0.5, "stage.1.1.weight": 0.5, "stage.1.1.bias": 0.5,
        "norm.weight": 0.5, "norm.bias": 0.5,
        "head.weight": 1.0, "head.bias": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_resnet20_has_a_stem_nine_units_and_a_head(is_wrapped: bool) -> None:
    net = models.build("resnet20", {}, in_channels=3, num_classes=10)
    found = blocks(nn.Sequential(net) if is_wrapped else net)
    assert len(found) == 11
    assert sorted(name.removeprefix("0.") for names in found for name in names) == sorted(dict(net.named_parameters()))


def test_the_last_pattern_that_matches_counts_and_multiplies_with_depth() -> None:
    patterns = {"*": 2.0, "head": 10.0, "stage.1.*.bias": 3.0, "*.norm": 7.0, "norm": 0.25}
    with pytest.raises(OptionInvalid, match=r"'\*\.norm' matches no parameter"):
        rate_factors(Staged(), RatesSection(per_layer=patterns))
    del patterns["*.norm"]
    factors = rate_factors(Staged(), RatesSection(per_depth=0.5, per_layer=patterns))
    assert factors["head.bias"] == 10.0
    assert factors["stage.1.1.bias"] == 3.0 * 0.5
    assert factors["norm.weight"] == 0.25 * 0.5
    assert factors["token"] == 2.0 * 0.125


def test_a_name_that_is_nearly_one_is_pointed_out() -> None:
    with pytest.raises(OptionInvalid, match="'haed' matches no parameter.*did you mean 'head'"):
        rate_factors(Staged(), RatesSection(per_layer={"haed": 2.0}))
    with pytest.raises(OptionInvalid, match="there are head, norm, stage, stem, token"):
        rate_factors(Staged(), RatesSection(per_layer={"layer4.1": 2.0}))


def test_a_tied_weight_has_the_rate_of_the_block_that_holds_it_first() -> None:
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    net[2].weight = net[0].weight
    assert rate_factors(net, RatesSection(per_depth=0.5)) == {"0.weight": 0.5}


def test_with_a_rate_the_groups_can_be_used_alone() -> None:
    net = Staged()
    optimizer = sgd(parameter_groups(net, 0.1, rates=RatesSection(per_layer={"head": 10.0}), lr=0.02), lr=0.02)
    rates = {name: group["lr"] for group in optimizer.param_groups for name in group["param_names"]}
    assert (rates["stem.weight"], rates["head.weight"], rates["head.bias"]) == (0.02, 0.2, 0.2)


def test_a_recipe_holds_rates_and_reads_them_back() -> None:
    recipe = Recipe().with_values({"rates.per_depth": 0.9, "rates.per_layer.body.0.*": 0.1})
    assert recipe.rates == RatesSection(per_depth=0.9, per_layer={"body.0.*": 0.1})
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    for path, value in (("rates.per_depth", 1.5), ("rates.per_layer.head", 0.0), ("rates.by_depth", 0.9)):
        with pytest.raises(RecipeInvalid, match=r"rates"):
            Recipe().with_values({path: value})


def test_blocks_of_a_net_of_vectors_are_one() -> None:
    assert blocks(nn.Sequential(nn.LayerNorm(3), nn.PReLU())) == [["0.weight", "0.bias", "1.weight"]]
