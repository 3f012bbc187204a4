"""How fast a folder of JPEG photographs gets into the uint8 store, against torchvision on the same files and tensors.

    python bench/decode.py --peer /tmp/peer-tv/bin/python        (bench/requirements-torchvision.txt)

Ours includes what the library always does: listing, every header, decoding with two threads. Theirs is ImageFolder,
Resize, CenterCrop and PILToTensor in a DataLoader with two workers and batches of 32, copied into one tensor.
Processor time per image is given too: other work on the machine touches it less.
"""

import subprocess
import tarfile
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from harness import DATA, Figure, figure, interleave, machine, not_run, parser, ratio, write_result
from PIL import Image

from trainwell.data.decode import DECODER, decode_into, inspect
from trainwell.data.jpeg import scaled_decoding
from trainwell.data.resize import ImageForm, Policy, whole_size

SIDE = 224
THREADS = 2


def photographs() -> Path:
    """Unpack the photographs beside the system's temporary files, once."""
    folder = Path(tempfile.gettempdir()) / "trainwell-bench" / "photos"
    archive = DATA / "photos.tar.xz"
    if not folder.exists():
        if not archive.exists():
            not_run(f"{archive} is not there (TRAINWELL_DATA names the folder)")
        with tarfile.open(archive) as tar:
            tar.extractall(folder.parent, filter="data")
    return folder


def listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix == ".jpg")


def ours(folder: Path, form: ImageForm) -> np.ndarray:
    """Return the folder's images as the library stores them."""
    paths = listed(folder)
    inspect(paths, threads=THREADS)
    out = np.empty((len(paths), *form.shape), np.uint8)
    bad = decode_into(paths, form, out, threads=THREADS)
    assert not bad, bad
    return out


def one_pass(folder: Path, form: ImageForm, spent: list[float]) -> float:
    """Return the images per second of one pass; its processor time in ms per image goes to `spent`."""
    start, busy = time.perf_counter(), time.process_time()
    count = len(ours(folder, form))
    spent.append(1e3 * (time.process_time() - busy) / count)
    return count / (time.perf_counter() - start)


class Peer:
    """The other interpreter, asked for one pass at a time."""

    def __init__(self, python: str, folder: Path) -> None:
        script = str(Path(__file__).with_name("decode_peer.py"))
        command = [python, script, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = self._read()

    def ask(self, *words: object, spent: list[float] | None = None) -> float:
        """Return the images per second of one pass; its processor time in ms per image goes to `spent`."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        rate, milliseconds = map(float, self._read().split())
        if spent is not None:
            spent.append(milliseconds)
        return rate

    def tensors(self, policy: Policy, side: int) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            self.ask(policy, side, path := Path(folder) / "tensors.npy")
            return np.load(path)

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = np.mean((one.astype(np.float32) - other) ** 2)
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def pillow(path: Path, form: ImageForm) -> np.ndarray:
    """Full decode and antialiased bilinear in the same policy, all by Pillow."""
    image = Image.open(path).convert("RGB")
    height, width = whole_size(image.height, image.width, form)
    top, left = round((height - form.height) / 2), round((width - form.width) / 2)
    whole = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return whole[top : top + form.height, left : left + form.width]


def quality(folder: Path, form: ImageForm) -> tuple[Figure, dict[int, Figure]]:
    """Return the PSNR against Pillow over all images, and over those decoded at each scale."""
    got, paths = ours(folder, form), listed(folder)
    values = [psnr(image, pillow(path, form)) for image, path in zip(got, paths, strict=True)]
    scales: dict[int, list[float]] = {}
    for path, value in zip(paths, values, strict=True):
        size = Image.open(path).size
        scales.setdefault(scaled_decoding(min(size), min(whole_size(size[1], size[0], form))), []).append(value)
    return _mean(values), {scale: _mean(found) for scale, found in sorted(scales.items())}


def _mean(values: list[float]) -> Figure:
    return Figure(
        float(np.mean(values)), min(values), max(values), f"dB (mean, lowest, highest of {len(values)} images)"
    )


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--peer", default="/tmp/peer-tv/bin/python", help="interpreter of the torchvision environment")
    given = options.parse_args()
    if not Path(given.peer).exists():
        not_run(f"{given.peer} is not there: make the environment of bench/requirements-torchvision.txt")
    folder, facts, figures = photographs(), machine(), {}
    peer, agreement = Peer(given.peer, folder), {}
    policies: tuple[Policy, ...] = ("crop", "stretch")
    for policy in policies:
        form = ImageForm(SIDE, SIDE, 3, policy)
        agreement[policy] = float(
            np.mean([psnr(a, b) for a, b in zip(ours(folder, form), peer.tensors(policy, SIDE), strict=True)])
        )
        our_time: list[float] = []
        their_time: list[float] = []
        values = interleave(
            {
                "trainwell": partial(one_pass, folder, form, our_time),
                "torchvision": partial(peer.ask, policy, SIDE, spent=their_time),
            },
            given.pairs,
        )
        figures[f"{policy}: trainwell, processor time"] = figure(our_time, "ms per image")
        figures[f"{policy}: torchvision, processor time"] = figure(their_time, "ms per image")
        figures[f"{policy}: ratio of processor time"] = ratio(their_time, our_time)
        figures |= {f"{policy}: {name}": figure(got, "images/s") for name, got in values.items()}
        figures[f"{policy}: ratio"] = ratio(values["trainwell"], values["torchvision"])
        figures[f"{policy}: PSNR against Pillow"], _ = quality(folder, form)
    for side in (128, 64, 48, 32, 16, 8):
        _, scales = quality(folder, ImageForm(side, side, 3))
        figures |= {f"PSNR at {side}, decoded at 1/{scale}": value for scale, value in scales.items() if scale > 1}
    peer.close()
    speeds = [figures[f"{policy}: ratio"].low for policy in policies]
    levels = [value.median for name, value in figures.items() if "PSNR" in name]
    write_result(
        "decode",
        figures=figures,
        n=given.pairs,
        target=">= 2.0x torchvision's images/s (low end), mean PSNR >= 38 dB against Pillow at each scale",
        reached=min(speeds) >= 2.0 and min(levels) >= 38,
        facts=facts,
        more={"peer": peer.versions, "decoder": DECODER, "psnr_against_peer": agreement, "images": len(listed(folder))},
    )


if __name__ == "__main__":
    main()
