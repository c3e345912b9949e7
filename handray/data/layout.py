"""Where a data folder keeps what, and which of its files belong together.

    DATA/train/DCM/<person>/<name>.png            8-bit PNG or JPEG, gray or RGB, any sizes
    DATA/train/outputs_json/<person>/<name>.json  its polygons
    DATA/test/DCM/<person>/<name>.png             optional
    DATA/truth/outputs_json/<person>/<name>.json  optional, labels of test images (phantoms)
    DATA/classes.txt                              optional, one class a line, in channel order

The folder may be a URL (s3://...). A person's images must stay on one side of a fold, so they share
a folder. An image goes by its file's name, since the submission knows nothing else.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from handray.bones import BONES
from handray.data.files import Files
from handray.data.imagefile import IMAGE_SUFFIXES

IMAGES = "DCM"
LABELS = "outputs_json"
TRUTH = f"truth/{LABELS}"
CLASSES = "classes.txt"
LABEL_SUFFIXES = (".json",)


@dataclass(frozen=True)
class Fault:
    """A file that can't be used, by its path under the root, and why, in one sentence."""

    path: str
    what: str


@dataclass(frozen=True)
class Split:
    """The files of "train" or "test", by their paths under the root, sorted."""

    sizes: dict[str, int]
    """Image -> bytes of its file."""
    labels: dict[str, str]
    """Image -> its label; an image without one has no key."""
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]


def list_split(files: Files, split: str) -> Split:
    """The images and labels of a split, and what is wrong with the list; reads no file."""
    folder = f"{split}/{IMAGES}"
    sizes, warnings = _of_kind(files.sizes(folder), folder, IMAGE_SUFFIXES)
    faults = _place_faults(sizes, folder)
    labels: dict[str, str] = {}
    if split == "train":
        label_folder = f"{split}/{LABELS}"
        found, more = _of_kind(files.sizes(label_folder), label_folder, LABEL_SUFFIXES)
        labels, unpaired = _pair(sizes, by_stem(found, label_folder))
        faults, warnings = faults + unpaired, warnings + more
    elif not sizes:
        warnings.append(f"no images in {folder}: nothing to predict")
    return Split(sizes, labels, tuple(faults), tuple(warnings))


def by_stem(names: Collection[str], folder: str) -> dict[str, str]:
    """File names by what image and label share: the path under their folder, without the suffix."""
    return {str(PurePosixPath(n).relative_to(folder).with_suffix("")): n for n in names}


def person_of(image: str) -> str:
    """The folder right under DCM: train/DCM/ID001/x.png -> ID001."""
    return image.split("/")[2]


def read_class_names(files: Files) -> tuple[str, ...]:
    """Class names in channel order, of classes.txt if it is there, else the 29 bones.

    Raises ValueError where the file holds no name, an empty line between names, or a name twice.
    """
    if not files.exists(CLASSES):
        return BONES
    try:
        lines = files.read(CLASSES).decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{CLASSES} is not UTF-8 text: {error}") from error
    names = tuple(line.strip() for line in lines)
    if not all(names) or not names:
        line = names.index("") + 1 if names else 1
        raise ValueError(f"{CLASSES} has an empty name in line {line}; it needs one class a line")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{CLASSES} names {', '.join(twice)} more than once; remove the repeats")
    return names


def no_images_error(files: Files) -> ValueError:
    """Why there is nothing to train on, and the layout that is needed."""
    folder = f"{files.root}/train/{IMAGES}"
    others = list(files.sizes(f"train/{IMAGES}"))
    what = f"no PNG or JPEG images in {folder}"
    if others:
        what += f" ({len(others)} other files, such as {others[0]})"
    elif not files.exists(f"train/{IMAGES}"):
        what = f"no folder {folder}"
    return ValueError(
        f"{what}; needed are train/{IMAGES}/<person>/<name>.png (or .jpg) with "
        f"train/{LABELS}/<person>/<name>.json, and test/{IMAGES}/<person>/<name>.png"
    )


def _of_kind(
    sizes: dict[str, int], folder: str, suffixes: tuple[str, ...]
) -> tuple[dict[str, int], list[str]]:
    """The files with one of the suffixes, and a warning about the rest."""
    kept = {n: size for n, size in sizes.items() if n.lower().endswith(suffixes)}
    others = [n for n in sizes if n not in kept]
    kinds = ", ".join(suffixes)
    warning = f"{len(others)} files in {folder} are not {kinds} and not used, such as {others[:1]}"
    return kept, [warning] if others else []


def _place_faults(images: Collection[str], folder: str) -> list[Fault]:
    """Images outside a person's folder, and names that the CSV couldn't tell apart."""
    faults, first = [], dict[str, str]()
    for image in images:
        name = PurePosixPath(image).name
        if image == f"{folder}/{name}":
            faults.append(Fault(image, f"not in a person's folder; move it to {folder}/<person>/"))
        elif first.setdefault(name, image) != image:
            what = f"has the same name as {first[name]}, and the CSV knows only names; rename one"
            faults.append(Fault(image, what))
    return faults


def _pair(
    images: Collection[str], labels_by_stem: dict[str, str]
) -> tuple[dict[str, str], list[Fault]]:
    """Image -> label, and a fault for every image or label that stands alone."""
    pairs: dict[str, str] = {}
    faults = []
    for stem, image in by_stem(images, f"train/{IMAGES}").items():
        if stem in labels_by_stem:
            pairs[image] = labels_by_stem[stem]
        else:
            faults.append(Fault(image, f"image without a label: no train/{LABELS}/{stem}.json"))
    for label in sorted(set(labels_by_stem.values()) - set(pairs.values())):
        stem = label.removeprefix(f"train/{LABELS}/").rsplit(".", 1)[0]
        faults.append(Fault(label, f"label without an image: no train/{IMAGES}/{stem}.png or .jpg"))
    return pairs, faults
