"""Sections that the reports of several jobs share: Dice, worst cases, thresholds, versions."""

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from handray.config import Config, flatten
from handray.inference.levels import LEVELS, MIDDLE
from handray.inference.provenance import made_by, processor
from handray.reporting import figures
from handray.reporting.cases import worst_cases
from handray.reporting.colours import class_colours
from handray.reporting.judged import Judged, Mean
from handray.reporting.page import Block, Chip, Facts, Figure, Section, Table, Text, plot

PARTS = {"steps": "step_seconds", "waiting for data": "wait_seconds",
         "validation": "validation_seconds"}  # fmt: skip
"""What an epoch's time goes into, and the keys of its record."""
WORST = 6
"""Images that are shown with their pictures."""
PACKAGES = (
    *("ray", "torch", "torchvision", "timm", "segmentation-models-pytorch", "albumentations"),
    *("opencv-python-headless", "numpy", "mlflow"),
)


def of_classes(judged: Judged) -> Section:
    """Dice of each class."""
    names, colours = judged.result.class_names, class_colours(judged.result.class_names)
    dice_NC = judged.dice_NC
    rows: list[list[Any]] = []
    for c in np.argsort(dice_NC.mean(axis=0), kind="stable").tolist():
        own_N = dice_NC[:, c]
        worst = judged.images[int(own_N.argmin())].name
        chip, group = Chip(names[c], colours[c]), figures.group_of(names[c])
        numbers = [_short(value) for value in (own_N.mean(), own_N.std(), own_N.min())]
        rows.append([chip, group, *numbers, worst])
    head = ["class", "group", "Dice", "standard deviation", "worst", "of image"]
    blocks: list[Block] = [
        Figure(plot(figures.dice_of_classes(dice_NC, names), "Dice of each class")),
        Table(head, rows, f"{judged.what}, {len(judged.images)} images, the worst class first"),
    ]
    return Section("Dice by class", blocks, len(names))


def of_slices(judged: Judged, folds: Mapping[str, Mean]) -> Section:
    """Dice of kinds of images, of groups of classes and of folds."""
    kinds, groups = judged.slices()
    means = {"all": judged.mean(), **folds, **kinds, **groups}
    rows: list[list[Any]] = [
        [name, mean.images, *map(_short, (mean.dice, mean.low, mean.high))]
        for name, mean in means.items()
    ]
    blocks: list[Block] = [
        Figure(plot(figures.dice_of_slices(means), "Dice of each slice")),
        Table(["slice", "images", "Dice", "95 % from", "to"], rows, judged.what, shown=20),
    ]
    if not kinds:
        blocks.append(Text("The labels tell neither the side nor the bend of a wrist.", small=True))
    return Section("Dice by slice", blocks)


def of_worst(judged: Judged) -> Section:
    """The worst images in pictures."""
    count = min(WORST, len(judged.images))
    head = Text(f"The {count} lowest of {len(judged.images)}: {judged.what}.")
    return Section("Worst cases", [head, *worst_cases(judged, count)], count)


def of_thresholds(judged: Judged) -> Section:
    """Dice by threshold, and the classes that another one would help."""
    title = "Threshold"
    if judged.counts is None:
        return Section(title, [Text("The result has no levels, so only one threshold is known.")])
    names, dice_LC = judged.result.class_names, judged.counts.dice_LC()
    what, best_C = "a pixel must exceed this probability", dice_LC.argmax(axis=0)
    gain_C = dice_LC.max(axis=0) - dice_LC[MIDDLE]
    rows: list[list[Any]] = [
        [
            Chip(names[c], class_colours(names)[c]),
            LEVELS[best_C[c]],
            *map(_short, (dice_LC[MIDDLE, c], dice_LC[best_C[c], c], gain_C[c])),
        ]
        for c in np.argsort(-gain_C, kind="stable").tolist()
        if gain_C[c] > 0
    ]
    head = ["class", "best threshold", "Dice at 0.5", "Dice there", "gain"]
    blocks: list[Block] = [
        Figure(plot(figures.dice_by(what, LEVELS, dice_LC, names), "Dice by threshold")),
        Table(head, rows, "Classes that another threshold would help, by these same images"),
        Text(
            "A gain that is chosen and measured on the same images is too good; "
            "jobs/ensemble.py --per-class --soft chooses and says what to expect on others.",
            small=True,
        ),
    ]
    return Section(title, blocks)


def of_reliability(judged: Judged) -> Section:
    """How often a predicted probability is right."""
    title = "Reliability of probabilities"
    if judged.counts is None:
        return Section(title, [Text("The result has no levels, so probabilities are not known.")])
    held_LC, true_LC = judged.counts.bands_LC()
    label_C = judged.counts.label_NC.sum(axis=0)
    below = 1 - true_LC.sum() / max(1, label_C.sum())
    names = judged.result.class_names
    blocks: list[Block] = [
        Figure(
            plot(figures.reliability(held_LC, true_LC, names), "Reliability"),
            "Pixels by the probability that their class has, as far as the levels tell it. Below "
            "the diagonal the network is too sure, above it too careful.",
        ),
        Text(f"Of the labels' pixels {below:.2%} have a probability below {LEVELS[0]:g}."),
    ]
    return Section(title, blocks)


def of_making(facts: Mapping[str, object], settings: Mapping[str, object]) -> Section:
    """What was run, with which settings, and by which versions."""
    versions = {"handray": _handray(), "Python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    versions["system"] = f"{platform.system()} {platform.release()} {platform.machine()}"
    if name := processor():
        versions["processor"] = name
    blocks = [
        Table(["", ""], [[key, str(value)] for key, value in facts.items()], shown=40),
        Table(["setting", "value"], [[k, str(v)] for k, v in settings.items()], shown=12),
        Table(["", "version"], [list(pair) for pair in versions.items()], shown=20),
    ]
    return Section("What was run", [block for block in blocks if block.rows])


def seconds_of(
    decoding: float | None, everything: str, histories: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, dict[str, float]]:
    """What the time of each training went into, by its name and the part, as far as recorded.

    Args:
        decoding: seconds of all together, if known.
        everything: what all together are called.
        histories: records of the epochs of each.

    """
    seconds = {everything: {"decoding": decoding}} if decoding else {}
    for name, history in histories.items():
        if all(key in record for record in history for key in PARTS.values()):
            seconds[name] = {part: sum(r[key] for r in history) for part, key in PARTS.items()}
    return seconds


def in_numbers(facts: Mapping[str, str], *remarks: str) -> Section:
    """The first section."""
    return Section("In numbers", [Facts(facts), *(Text(remark) for remark in remarks)])


def missing(title: str, why: str) -> Section:
    """A section that says why it is empty."""
    return Section(title, [Text(why)])


def told(what: str, mean: Mean) -> dict[str, str]:
    """A mean Dice and its interval as facts."""
    facts = {what: f"{mean.dice:.4f}"}
    if np.isfinite(mean.low):
        facts["its 95 % interval over people"] = f"{mean.low:.3f} to {mean.high:.3f}"
    return facts


def _short(value: float) -> float:
    """Rounded: further digits of a Dice are noise."""
    return round(float(value), 4)


def _handray() -> str:
    facts = made_by()
    commit = f", commit {facts['commit']}" if "commit" in facts else ""
    return f"{facts['version']}{commit}"


def settings_of(config: Config) -> dict[str, object]:
    """A config's keys, those that differ from the defaults first."""
    own, defaults = flatten(config), flatten(Config())
    changed = [key for key in own if own[key] != defaults[key]]
    return {key: own[key] for key in dict.fromkeys([*changed, *own])}
