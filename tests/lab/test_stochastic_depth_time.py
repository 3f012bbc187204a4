"""Units that run, against their chances; times and errors that are known, and what the judge says of them."""

from typing import Any

import numpy as np
import torch

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Table
from trainwell.lab.experiments.stochastic_depth_time import (
    ARMS,
    BY_BATCH,
    BY_SAMPLE,
    CONSTANT,
    FORMS,
    UNITS,
    count_units,
    figures,
    judge,
    random_images,
    time_steps,
    watched,
)
from trainwell.lab.one_cycle import network_of
from trainwell.models.residual import StochasticDepth


def test_the_watch_sees_each_unit_that_runs_and_forgets() -> None:
    images = random_images(8, 2)
    network = network_of("cifar_resnet", {"depth": 20, "width": 2, "survival": 0.5}, images, seed=0)
    since = watched(network)
    network.eval()(images.inputs)
    network(images.inputs)
    assert since().tolist() == [2] * 9
    for chance in (part for part in network.modules() if isinstance(part, StochasticDepth)):
        chance.survival = 1.0 if chance.survival > 0.7 else 1e-9
    network.train()(images.inputs)
    assert since().tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 0]  # 1 - l / 18 > .7 for l <= 5
    assert since().sum() == 0


def test_units_are_counted_as_they_run() -> None:
    """Of 54 units the count has deviation 3; five standard errors of twelve steps are 4.4."""
    found = count_units(0, steps=12)
    assert abs(np.mean(found["units"]) - 40.25) < 4.4
    assert np.allclose(np.sum(found["share"]), np.mean(found["units"]))
    assert found["units in evaluation"] == UNITS


def test_times_are_those_of_whole_steps_and_only_batches_leave_units_out() -> None:
    found = time_steps(0, batch=2, rounds=2)
    for form in FORMS:
        assert np.all(np.array(found[f"seconds, {form}"]) > 0)
    assert np.all(np.array(found[f"units, {CONSTANT}"]) == UNITS)
    assert np.all(np.array(found[f"units, {BY_SAMPLE}"]) == UNITS)
    assert np.all(np.array(found[f"units, {BY_BATCH}"]) < UNITS)


def rows(**changes: Any) -> dict[str, list[dict[str, Any]]]:
    """Three seeds as the claims have it."""
    chances = 1 - np.arange(1, UNITS + 1) / (2 * UNITS)
    promised = [(3 * units - 1) / 4 for units in range(1, 201)]
    units = {"units": [39.25, 41.25] * 20, "share": chances, "units in evaluation": 54.0, "promised": promised}
    seconds = {CONSTANT: [1.0, 1.1], BY_BATCH: [0.75, 0.82], BY_SAMPLE: [1.01, 1.12]}
    time = {f"seconds, {form}": values for form, values in seconds.items()}
    time |= {f"units, {form}": [54.0, 54.0] for form in FORMS}
    learned = {"loss": [2.0, 1.0], "training error": 0.0}
    found = {"units": units, "time": time, CONSTANT: learned | {"error": 0.5}, BY_BATCH: learned | {"error": 0.48}}
    return {arm: [{**row, **changes.get(arm, {})}] * 3 for arm, row in found.items()}


def holding(**changes: Any) -> list[bool]:
    return [check.holds for check in judge(Table(rows(**changes)))]


def test_the_judge_sees_what_is_broken() -> None:
    assert holding() == [True] * 7
    assert set(ARMS) == set(rows()) == set(experiments.build("stochastic_depth_time").arms)
    broken: list[tuple[int, str, dict[str, Any]]] = [
        (0, "units", {"promised": [units * 0.75 for units in range(1, 201)]}),
        (1, "units", {"units": [40.25, 42.25] * 20}),
        (2, "units", {"share": np.full(UNITS, 40.25 / UNITS)}),
        (3, "units", {"units in evaluation": 40.0}),
        (4, "time", {f"seconds, {BY_BATCH}": [0.99, 1.1]}),
        (5, "time", {f"seconds, {BY_SAMPLE}": [0.75, 0.82]}),
        (6, BY_BATCH, {"error": 0.51}),
    ]
    for place, arm, change in broken:
        assert [number for number, holds in enumerate(holding(**{arm: change})) if not holds] == [place], arm


def test_the_figures_show_every_step() -> None:
    share, time, loss = figures(Table(rows()))
    assert len(share.data[1].x) == UNITS
    assert [len(trace.x) for trace in time.data] == [6, 6, 6]
    assert [trace.name for trace in loss.data if trace.name] == [
        f"{CONSTANT}: 50.0% of other images wrong",
        f"{BY_BATCH}: 48.0% of other images wrong",
    ]


def test_left_out_units_have_no_gradient() -> None:
    """So an update leaves them alone, and they cost nothing there either."""
    images = random_images(8, 2)
    network = network_of("cifar_resnet", {"depth": 8, "width": 2, "survival": 0.5}, images, seed=0)
    for chance in (part for part in network.modules() if isinstance(part, StochasticDepth)):
        chance.survival = 1e-9
    torch.nn.functional.cross_entropy(network(images.inputs), images.labels).backward()
    without = {name.split(".")[0] for name, weight in network.named_parameters() if weight.grad is None}
    assert without == {"layer1", "layer2", "layer3"}
