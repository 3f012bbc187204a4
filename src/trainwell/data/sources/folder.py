"""A folder of images with one sub-folder for each class, with or without train, val and test above them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainwell.core.shelves import sources
from trainwell.data.badfiles import READ_SUFFIXES, is_image_name
from trainwell.data.samples import SPLIT_WORDS, Samples, first_rows, natural_order
from trainwell.errors import DataInvalid, did_you_mean


def _example(folder: Path) -> tuple[str, dict[str, Any]]:
    generator = np.random.default_rng(0)
    for name in ("cross", "square", "star"):
        (folder / "shapes" / name).mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(0, 256, (10 + number, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "shapes" / name / f"{number}.png")
    return str(folder / "shapes"), {}


@dataclass
class _Walk:
    """What was met on the way through the folder, apart from the images themselves."""

    root: Path
    hidden: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    nested: list[str] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)

    def entries(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        """Yield what is not hidden, by name, and remember what is."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise DataInvalid(f"the folder {folder} cannot be read: {error.strerror}; check its permissions") from error
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                self.hidden.append(self.shown(entry.path))
            else:
                yield entry

    def shown(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def images(self, folder: Path, seen: frozenset[str] = frozenset()) -> list[Path]:
        """Return all images of a class folder and of the folders in it; a link back up is not followed."""
        real = os.path.realpath(folder)
        if real in seen:
            self.others.append(self.shown(str(folder)) + " (a link to a folder above it)")
            return []
        images: list[Path] = []
        for entry in self.entries(folder):
            if entry.is_dir():
                inner = self.images(Path(entry.path), seen | {real})
                self.nested.extend(self.shown(str(path)) for path in inner)
                images.extend(inner)
            elif is_image_name(entry.name):
                images.append(Path(entry.path))
            else:
                self.others.append(self.shown(entry.path))
        return images

    def folders(self, folder: Path) -> list[Path]:
        """Return the sub-folders that are not our own runs; remember loose images and other files beside them."""
        found = []
        for entry in self.entries(folder):
            if entry.is_dir() and _holds_runs(Path(entry.path)):
                self.runs.append(self.shown(entry.path))
            elif entry.is_dir():
                found.append(Path(entry.path))
            elif is_image_name(entry.name):
                self.loose.append(self.shown(entry.path))
            else:
                self.others.append(self.shown(entry.path))
        return found

    def notes(self) -> tuple[str, ...]:
        """Say what was left out and what was taken from deeper down."""
        said = (
            (self.runs, "folders of trainwell's own runs were ignored"),
            (self.hidden, "hidden files or folders were ignored"),
            (self.others, "files are no images by their extension and were left out"),
            (self.loose, "images lie beside the class folders, belong to no class and were left out"),
            (sorted(set(self.nested)), "images lie in folders inside a class folder and count to that class"),
        )
        return tuple(f"{len(found)} {words}: {first_rows(found)}" for found, words in said if found)


@sources.card(
    takes="a folder with one sub-folder of images a class", accepts=Path.is_dir, is_last_resort=True, example=_example
)
def folder(location: str) -> Samples:
    """A folder with one sub-folder of images for each class; train, val and test folders above them are respected.

    Class order is natural order of the names. Hidden files and folders are ignored, files that are no images are
    left out, images in folders inside a class folder count to that class; all of it is said in the notes.

    Raises:
        DataInvalid: no images, no class folders, an empty class folder, or val and test classes that train lacks.
    """
    root = Path(location)
    walk = _Walk(root)
    if not root.is_dir():
        raise DataInvalid(f"{root} is no folder: give a folder with one sub-folder of images for each class")
    top = walk.folders(root)
    parts, notes = _split_folders(root, top)
    classes = {
        split: _classes(walk, place, folders) for split, (place, folders) in _read(walk, parts, root, top).items()
    }
    first = "train" if "train" in classes else ""
    names = tuple(natural_order(classes[first]))
    notes += _compare(classes, names)
    files: list[Path] = []
    labels: list[int] = []
    splits: list[str] = []
    for split, found in classes.items():
        for label, name in enumerate(names):
            images = found.get(name, [])
            files += images
            labels += [label] * len(images)
            splits += [split if len(classes) > 1 else ""] * len(images)
    said = tuple(notes) + walk.notes()
    return Samples(
        names, np.array(labels, np.int64), np.array(splits, "<U5"), files=tuple(files), root=root, notes=said
    )


def _split_folders(root: Path, top: list[Path]) -> tuple[dict[str, Path], list[str]]:
    """Return the user's split folders; a folder called `train` that holds images itself is a class (of vehicles)."""
    named = [folder for folder in top if folder.name.lower() in SPLIT_WORDS]
    over_classes = [folder for folder in named if _sub_folders(folder)]
    if not any(SPLIT_WORDS[folder.name.lower()] == "train" for folder in over_classes):
        if named and len(named) == len(top):
            raise DataInvalid(
                f"{root} holds the split folders {first_rows(f.name for f in named)}, but no train folder with one "
                "sub-folder of images for each class: arrange it as train/CLASS/image.jpg"
            )
        return {}, []
    others = [folder.name for folder in top if folder not in named]
    if others:
        raise DataInvalid(
            f"{root} mixes split folders ({first_rows(f.name for f in named)}) with other folders "
            f"({first_rows(others)}): "
            "put class folders either all inside train, val and test, or all directly in one folder"
        )
    parts: dict[str, Path] = {}
    notes: list[str] = []
    for folder in named:
        split = SPLIT_WORDS[folder.name.lower()]
        if split in parts:
            raise DataInvalid(f"{root} holds two folders for {split}: {parts[split].name} and {folder.name}; keep one")
        if folder not in over_classes:
            notes.append(
                f"the folder {folder.name} holds no class folders, so its images have no label and were left out"
            )
            continue
        parts[split] = folder
    if list(parts) == ["train"]:
        notes.append("only the folder train holds classes: val and test are split from it")
    else:
        notes.append(
            "the splits are yours: "
            + ", ".join(parts[s].name for s in ("train", "val", "test") if s in parts)
            + ("" if "val" in parts else "; val is split from train")
        )
    return parts, notes


def _holds_runs(folder: Path) -> bool:
    """Whether a folder is a run of ours, or holds nothing else."""
    try:
        inner = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return False  # the walk says that it cannot be read
    is_run = (folder / "recipe.yaml").is_file() and not any(is_image_name(entry.name) for entry in inner)
    return is_run or (bool(inner) and all((entry / "recipe.yaml").is_file() for entry in inner))


def _sub_folders(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise DataInvalid(f"the folder {folder} cannot be read: {error.strerror}; check its permissions") from error


def _read(walk: _Walk, parts: dict[str, Path], root: Path, top: list[Path]) -> dict[str, tuple[Path, list[Path]]]:
    if not parts:
        return {"": (root, top)}
    return {split: (parts[split], walk.folders(parts[split])) for split in ("train", "val", "test") if split in parts}


def _classes(walk: _Walk, place: Path, folders: list[Path]) -> dict[str, list[Path]]:
    """Return the images of each class folder in a place."""
    if not folders:
        lies = f"{len(walk.loose)} images that belong to no class" if walk.loose else "no images"
        lies += f" and {len(walk.others)} other files ({first_rows(walk.others)})" if walk.others else ""
        raise DataInvalid(
            f"{place} holds {lies} and no class folders: make one sub-folder of images for each class, as cat/1.jpg, "
            "dog/1.jpg"
        )
    above = frozenset(os.path.realpath(path) for path in (place, walk.root))  # a link back up is not followed
    found = {folder.name: walk.images(folder, above) for folder in folders}
    empty = [name for name, images in found.items() if not images]
    if empty:
        named = ", ".join(str(place / name) for name in empty[:20])
        raise DataInvalid(
            f"{len(empty)} of {len(found)} class folders hold no images: {named}; fill them or remove them "
            f"(read are {', '.join(READ_SUFFIXES)})"
        )
    if len(found) == 1:
        (name,) = found
        inner = _sub_folders(place / name)
        if len(inner) > 1:
            raise DataInvalid(
                f"{place} holds one folder only, {name}, which holds {len(inner)} folders ({first_rows(inner)}): "
                f"if those are the classes, give {place / name}"
            )
    return found


def _compare(classes: dict[str, dict[str, list[Path]]], names: tuple[str, ...]) -> list[str]:
    notes = []
    for split, found in classes.items():
        unknown = [name for name in found if name not in names]
        if unknown:
            raise DataInvalid(
                f"{split} holds class folders that train lacks: {first_rows(unknown)}{did_you_mean(unknown[0], names)} "
                "Give them training images, or remove or rename them"
            )
        missing = [name for name in names if name not in found]
        if missing:
            notes.append(f"{split} has no images of {len(missing)} classes: {first_rows(missing)}")
    return notes
