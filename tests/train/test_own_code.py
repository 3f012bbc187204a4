"""Files of the user's own: networks and shelf members, copied into the run and checked by hash."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

import trainwell as tw
from trainwell.core.own_code import build_own, settle_files, sha256
from trainwell.core.recipe import Recipe
from trainwell.core.shelves import SHELVES
from trainwell.errors import ModelInvalid
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

Train = Callable[..., Run]

NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, in_features, num_classes, *, width=4):
        super().__init__(nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, num_classes))
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A file with a network of one's own."""
    path = tmp_path / "my_net.py"
    path.write_text(NET)
    return path


@pytest.fixture
def same_shelves() -> object:
    """Take back the cards that a test's file puts on the shelves."""
    before = {kind: ({card.name for card in shelf}, shelf) for kind, shelf in SHELVES.items()}
    yield
    for names, shelf in before.values():
        for card in [card for card in shelf if card.name not in names]:
            del shelf._cards[card.name]


def test_a_network_from_a_file_is_trained_and_recorded(train: Train, net: Path) -> None:
    run = train("run", model=f"{net}:Net:width=6", epochs=1)
    assert isinstance(run.model, nn.Sequential)
    assert run.model[0].out_features == 6
    assert run.recipe.files == {str(net): sha256(net)}
    assert (run.path / "code" / "my_net.py").read_text() == NET


def test_a_run_goes_on_from_its_own_copy_of_the_file(train: Train, net: Path) -> None:
    run = train("run", model=f"{net}:Net", epochs=1)
    net.write_text("raise RuntimeError('edited since')")
    assert tw.resume(run.path, reporter=Silence()).test == run.test


def test_another_file_than_the_recipe_names_is_refused(train: Train, net: Path, tmp_path: Path) -> None:
    run = train("run", model=f"{net}:Net", epochs=1)
    net.write_text(NET + "# edited\n")
    (tmp_path / "alone.yaml").write_text((run.path / "recipe.yaml").read_text())
    with pytest.raises(ModelInvalid, match="is not the file that this recipe was run with: its SHA-256 begins with"):
        tw.fit(recipe=tmp_path / "alone.yaml", out=tmp_path / "again", reporter=Silence())
    assert not (tmp_path / "again").exists()


def test_a_rerun_of_a_run_takes_the_copy_that_lies_in_it(train: Train, net: Path, tmp_path: Path) -> None:
    run = train("run", model=f"{net}:Net", epochs=1)
    net.unlink()
    again = tw.fit(recipe=run.path, out=tmp_path / "again", reporter=Silence())
    assert (again.path / "record.jsonl").read_bytes() == (run.path / "record.jsonl").read_bytes()


def test_a_network_handed_over_is_asked_for_again(train: Train) -> None:
    run = train("run", model=nn.Linear(2, 2), epochs=1, set={"regularization.patience": None})
    assert run.recipe.model == Recipe(model="given").model
    with pytest.raises(ModelInvalid, match="handed over in Python: pass the same one as model="):
        tw.resume(run.path, reporter=Silence())
    assert tw.resume(run.path, model=nn.Linear(2, 2), reporter=Silence()).test == run.test


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("nowhere.py:Net", r"nowhere\.py does not exist: a file of your own is given by its path, such as my_file"),
        ("{net}:Nett", r"has no network 'Nett': did you mean 'Net'\?"),
        ("{net}:Net:widht=3", r"has no option 'widht': did you mean 'width'\?"),
        ("{bad}:Net", r"cannot be imported: ZeroDivisionError: division by zero"),
        ("{bad}:Frozen", r"cannot be imported"),
        ("{odd}:number", r"odd\.py:number must build a torch\.nn\.Module, got int"),
        ("{odd}:needy", r"needs depth: write .*odd\.py:needy:depth=\.\.\.; supplied by themselves are"),
        ("{odd}:frozen", r"has no weights that can be trained"),
        ("{odd}:broken", r"broken cannot be built: KeyError: 'inside'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(train: Train, net: Path, tmp_path: Path, model: str, words: str) -> None:
    bad, odd = tmp_path / "bad.py", tmp_path / "odd.py"
    bad.write_text("1 / 0\n")
    odd.write_text(
        "from torch import nn\n"
        "def number(): return 3\n"
        "def needy(depth): return nn.Linear(2, 2)\n"
        "def frozen(): return nn.Flatten()\n"
        "def broken(): return {}['inside']\n"
    )
    with pytest.raises(ModelInvalid, match=words) as caught:
        train("run", model=model.format(net=net, bad=bad, odd=odd))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("same_shelves")
def test_members_in_a_file_stand_on_the_shelves(train: Train, tmp_path: Path) -> None:
    file = tmp_path / "my_loss.py"
    file.write_text(
        "from torch.nn import functional\n"
        "from trainwell.core.shelves import losses\n"
        "@losses.card()\n"
        "def own_hinge():\n"
        "    '''Multi-class hinge.'''\n"
        "    return lambda logits, targets: functional.multi_margin_loss(logits, targets, reduction='none')\n"
    )
    run = train("run", loss="own_hinge", epochs=1, set={"files": {str(file): ""}})
    assert run.recipe.loss.name == "own_hinge"
    assert (run.path / "code" / "my_loss.py").is_file()
    assert run.recipe.files[str(file)] == sha256(file)


def test_facts_are_supplied_by_name_and_options_from_the_choice(net: Path, tmp_path: Path) -> None:
    files = settle_files({str(net): ""}, tmp_path / "code")
    model = build_own(f"{net}:Net", {"width": 3}, {"in_features": 5, "num_classes": 2, "in_channels": 1}, files)
    assert [layer.weight.shape for layer in (model[0], model[2])] == [(3, 5), (2, 3)]
