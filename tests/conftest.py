"""Settings that all tests share, and what is skipped where the machine lacks something."""

import os
import shutil
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


PROCESSES = 2  # of a whole run, at most: as many as its machine has cores


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share a whole run among processes, a file to one of them, unless the command line says how many.

    What is named on the command line runs in one process, which starts at once; so does everything with `--pdb`, or
    without the plugin.
    """
    is_whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    has_plugin = config.pluginmanager.hasplugin("xdist") and not hasattr(config, "workerinput")
    if is_whole and has_plugin and config.option.numprocesses is None and config.option.dist == "no":
        config.option.numprocesses, config.option.maxprocesses, config.option.dist = "auto", PROCESSES, "loadfile"


def pytest_configure() -> None:
    """Use one thread: the tests' tensors are small, and two test runs, or processes of one, may share the machine."""
    torch.set_num_threads(1)


def missing(what: str, reason: str) -> None:
    """Skip, with a reason; where `TRAINWELL_REQUIRE` names `what`, fail instead."""
    if what in os.environ.get("TRAINWELL_REQUIRE", "").split(","):
        pytest.fail(f"TRAINWELL_REQUIRE asks for {what}: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of development data, described in its README."""
    folder = Path(os.environ.get("TRAINWELL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        missing("data", f"the data folder {folder} is not there: set TRAINWELL_DATA")
    return folder


@pytest.fixture(autouse=True)
def _same_process_settings() -> object:
    """Give back the process settings that a run changes."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="session")
def browser() -> str:
    """The program of a headless Chromium."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        missing("browser", "there is no Chromium: apt-get install chromium")
    return str(found)
