"""Every experiment's quick form: it runs, its checks are words, its numbers finite, and nothing fails that did not."""

import math

import pytest

from trainwell.core.shelves import experiments
from trainwell.lab.data import missing
from trainwell.lab.measuring import experiment_of
from trainwell.lab.runner import run

NAMES = [card.name for card in experiments]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_quick_form_shows_what_its_card_says(
    name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    needs = experiment_of(name).needs
    if needs:
        monkeypatch.setenv("TRAINWELL_DATA", str(request.getfixturevalue("data_folder")))
        monkeypatch.delenv("TRAINWELL_CACHE")  # what was decoded once is decoded
        if missing(needs):
            pytest.skip(missing(needs))
    (result,) = run([name], is_quick=True, jobs=1)
    assert result.faults == ()
    assert result.table is not None, result.why
    for check in result.checks:
        assert all(text.strip() for text in (check.claim, str(check.printed), str(check.measured), check.tolerance))
    claims = [check.claim for check in result.checks]
    assert len(set(claims)) == len(claims), "each claim can be told from the others"
    for row in result.to_plain()["measures"]:
        means = row["mean"] if isinstance(row["mean"], list) else [row["mean"]]
        assert all(mean is not None and math.isfinite(mean) for mean in means), f"{row['arm']}, {row['measure']}"
    failed = {check.claim for check in result.checks if not check.holds}
    known = set(experiments[name].traits.get("fails", ()))
    assert failed - known == set(), "a claim fails that did not: look into it, or say so on the card: fails=(claim,)"


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_says_what_it_asks(name: str) -> None:
    card, experiment = experiments[name], experiment_of(name)
    assert card.traits.get("claims"), "the card names the claims"
    assert experiment.question.endswith("?")
    assert experiment.arms
    assert 1 <= experiment.quick_seeds <= experiment.seeds
    assert set(experiment.needs) <= {"mnist", "cifar10"}
