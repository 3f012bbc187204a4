"""Published weights: what the table says, where files come from, and what is said where they cannot be had."""

import errno
import hashlib
import re
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trainwell.core.choice import Choice
from trainwell.core.shelves import models, preprocessings
from trainwell.errors import ModelInvalid, NameUnknown, OptionInvalid
from trainwell.models.pretrained import Pretrained, find, load_weights, published
from trainwell.models.pretrained import fetching as fetching_module
from trainwell.models.pretrained.table import ENTRIES, Entry, entry_of
from trainwell.models.resnet import cifar_resnet

# What others publish: torchvision's own file names, and the SHA-256 of the author's files of ResNets for CIFAR-10.
TORCHVISION = """
    resnet18-f37072fd resnet34-b627a593 resnet50-0676ba61 resnet101-63fe2227 resnet152-394f9c45
    wide_resnet50_2-95faca4d wide_resnet101_2-32ee1156 densenet121-a639ec97 densenet161-8d451a50 densenet169-b2777c0a
    densenet201-c1103571 googlenet-1378be20 vgg16-397923af alexnet-owt-7be5be79
""".split()
IDELBAYEV = {
    "resnet20": "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8",
    "resnet32": "d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850",
    "resnet44": "014dd6541728a1c700b1642ab640e211dc6eb8ed507d70697458dc8f8a0ae2e4",
    "resnet56": "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367",
}
WEIGHTS = cifar_resnet(3, 10, depth=8).state_dict()


def test_the_table_names_the_files_that_were_published() -> None:
    urls = {entry.url for entry in ENTRIES.values() if not entry.classes}
    assert urls == {f"https://download.pytorch.org/models/{name}.pth" for name in TORCHVISION}
    assert {name: entry_of(digest).name for name, digest in IDELBAYEV.items()} == {name: name for name in IDELBAYEV}  # type: ignore[union-attr]
    assert all(re.fullmatch("[0-9a-f]{8}", entry.digits) for entry in ENTRIES.values())
    assert len({entry.digits for entry in ENTRIES.values()}) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_every_name_is_of_our_shelf_and_reads_what_it_was_trained_on(entry: Entry) -> None:
    assert models[entry.name].parse_options({}).get("stride_at") != "first"
    assert entry.repository in ("", f"timm/{entry.name}.tv_in1k")
    made = preprocessings.build(entry.preprocessing.name, entry.preprocessing.options)
    made.fit(torch.zeros(1, *entry.input_shape, dtype=torch.uint8))


def test_googlenet_reads_what_its_authors_of_tensorflow_fed_it() -> None:
    assert str(ENTRIES["googlenet"].preprocessing) == "fixed:mean=[0.5, 0.5, 0.5],std=[0.5, 0.5, 0.5]"


@dataclass
class Site:
    """A server of one file on this machine, with what it was asked for."""

    address: str = ""
    content: bytes = b""
    status: int = 200
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            self.send_response(site.status)
            self.end_headers()
            self.wfile.write(site.content)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    site.address = f"http://127.0.0.1:{server.server_port}/models"
    yield site
    server.shutdown()
    server.server_close()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def entry(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A network of our shelf whose weights lie on that server, with empty caches and no hub."""
    torch.save(WEIGHTS, tmp_path / "made.pth")
    site.content = (tmp_path / "made.pth").read_bytes()
    digits = hashlib.sha256(site.content).hexdigest()[:8]
    entry = Entry("resnet50", f"resnet50-{digits}.pth", site.address, repository="timm/resnet50.tv_in1k")
    monkeypatch.setitem(ENTRIES, "resnet50", entry)  # type: ignore[misc]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return entry


def cache(tmp_path: Path) -> Path:
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.mark.parametrize("name", ["resnet50", "resnet50:pretrained"])
def test_without_the_hub_the_authors_file_is_taken_and_the_reason_said(
    name: str, entry: Entry, site: Site, said: list[str], tmp_path: Path
) -> None:
    found = published(name, say=said.append)
    assert found.tensors.keys() == WEIGHTS.keys()
    assert (found.name, found.location, found.model) == ("resnet50", entry.url, Choice(name="resnet50"))
    assert found.sha256 == hashlib.sha256(site.content).hexdigest()
    assert found.preprocessing == entry.preprocessing
    assert found.input_shape == (3, 224, 224)
    assert [path.name for path in cache(tmp_path).iterdir()] == [entry.file]
    assert "huggingface_hub is not installed" in said[0]
    assert 'pip install "trainwell[pretrained]"' in said[0]
    assert said[0].endswith(f"taking {entry.url} instead")
    assert said[1] == f"downloading {entry.url} to {cache(tmp_path) / entry.file}"


def test_what_lies_in_the_cache_needs_no_network(
    entry: Entry, site: Site, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    published("resnet50", say=said.append)
    said.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    published("resnet50", say=said.append)
    assert said == []
    assert len(site.asked) == 1


def test_what_is_damaged_in_the_cache_is_fetched_again(
    entry: Entry, site: Site, said: list[str], tmp_path: Path
) -> None:
    cache(tmp_path).mkdir(parents=True)
    (cache(tmp_path) / entry.file).write_bytes(b"half")
    assert published("resnet50", say=said.append).tensors.keys() == WEIGHTS.keys()
    assert "is damaged" in said[0]
    (cache(tmp_path) / entry.file).write_bytes(b"half")
    site.status = 500
    with pytest.raises(ModelInvalid, match=r"answers 500 .* is damaged"):
        published("resnet50", say=said.append)


def refused(words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=words) as caught:
        published("resnet50", say=lambda _: None)
    assert "resnet50" in str(caught.value)
    assert str(cache(tmp_path)) in str(caught.value)
    assert not cache(tmp_path).exists() or list(cache(tmp_path).iterdir()) == []


def test_a_server_without_the_file_is_said(entry: Entry, site: Site, tmp_path: Path) -> None:
    site.status = 404
    refused("the server answers 404 Not Found.*try again with a network, or get http.*and put it into", tmp_path)


def test_another_file_than_the_one_named_is_not_kept(entry: Entry, site: Site, tmp_path: Path) -> None:
    site.content = b"<html>Please log in</html>"
    refused(f"SHA-256 that begins with [0-9a-f]{{8}}, and not with {entry.digits}", tmp_path)
    site.content = (tmp_path / "made.pth").read_bytes()[:-9]
    refused("SHA-256 .*cut short", tmp_path)


def test_no_network_is_said(entry: Entry, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Entry(entry.name, entry.file, "http://127.0.0.1:1")
    monkeypatch.setitem(ENTRIES, "resnet50", closed)  # type: ignore[misc]
    refused("ConnectionRefusedError", tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused("HF_HUB_OFFLINE is set", tmp_path)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "is full: free some room, or point TORCH_HOME"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be written: point TORCH_HOME"),
        (TimeoutError("timed out"), "no answer for 30 seconds"),
        (KeyboardInterrupt(), ""),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_disk_that_is_full_leaves_nothing_half_written(
    fault: BaseException, words: str, entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(answer: Any, target: Any) -> str:
        target.write(answer.read(10))
        raise fault

    monkeypatch.setattr(fetching_module, "_copy", fail)
    if words:
        refused(words, tmp_path)
    else:
        with pytest.raises(KeyboardInterrupt):
            published("resnet50", say=lambda _: None)
    assert list(cache(tmp_path).iterdir()) == []


class Hub(ModuleType):
    """Stands in for huggingface_hub: one file in its cache, one on the net, or a fault."""

    def __init__(self, path: Path, *, is_cached: bool, fault: Exception | None = None) -> None:
        super().__init__("huggingface_hub")
        self.path, self.is_cached, self.fault, self.asked = path, is_cached, fault, []  # type: ignore[var-annotated]

    def hf_hub_download(self, repository: str, file: str, *, local_files_only: bool = False) -> str:
        self.asked.append((repository, file, local_files_only))
        if local_files_only and not self.is_cached:
            raise FileNotFoundError("not in the cache")
        if self.fault is not None:
            raise self.fault
        return str(self.path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_the_hubs_safetensors_go_first(
    entry: Entry, site: Site, file: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(file, is_cached=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    found = published("resnet50", say=said.append)
    assert found.location == "timm/resnet50.tv_in1k"
    assert found.tensors.keys() == WEIGHTS.keys()
    assert found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert hub.asked[-1] == ("timm/resnet50.tv_in1k", "model.safetensors", False)
    assert site.asked == []


def test_the_hubs_cache_needs_no_network(
    entry: Entry, file: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(file, is_cached=True)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert published("resnet50", say=said.append).location == "timm/resnet50.tv_in1k"
    assert [local for *_, local in hub.asked] == [True]
    assert said == []


def test_a_fault_of_the_hub_is_said_and_the_authors_file_taken(
    entry: Entry, site: Site, file: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(file, is_cached=False, fault=ConnectionError("cannot reach it.\nMore words"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert published("resnet50", say=said.append).location == entry.url
    assert any("ConnectionError: cannot reach it; taking" in text for text in said)


def test_a_name_without_published_weights_is_answered_with_those_that_have_some() -> None:
    with pytest.raises(NameUnknown, match=r"published for 'resnet5O': did you mean .*'resnet50'\? there are resnet18,"):
        published("resnet5O")
    with pytest.raises(NameUnknown, match=r"'zebra': there are resnet18, .*, and timm:NAME"):
        published("zebra")


def test_options_have_no_place_behind_the_name() -> None:
    with pytest.raises(OptionInvalid, match="write resnet50 or resnet50:pretrained"):
        published("resnet50:dropout=0.1")


def test_published_weights_go_into_any_network_by_name(entry: Entry) -> None:
    network: nn.Module = cifar_resnet(3, 4, depth=8)
    loaded = load_weights(network, "resnet50", head="fresh")
    assert torch.equal(network.state_dict()["conv1.weight"], WEIGHTS["conv1.weight"])
    assert loaded.summary.startswith(f"42 of 44 tensors loaded from resnet50 ({entry.url})")


def test_a_file_in_the_working_folder_goes_before_a_published_name(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.ones(1)}, "resnet50")
    assert list(find("resnet50").tensors) == ["a"]
    given = Pretrained("x", "y", "", {})
    assert find(given) is given


def test_nothing_is_asked_of_the_network_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("the network was asked"))
    with pytest.raises(NameUnknown):
        published("resnet51")
