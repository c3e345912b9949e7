"""The report of a k-fold training: one page that shows what it learnt, where it fails, and why.

It reads what the run's folder has, so that it tells of a run of which folds are missing as well.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from handray.data.radiographs import read_image
from handray.inference.levels import MIDDLE
from handray.inference.members import OUT_OF_FOLD, OUTPUT
from handray.reporting import figures, sections
from handray.reporting.colours import class_colours
from handray.reporting.console import duration
from handray.reporting.judged import Judged, Mean
from handray.reporting.overlay import draw_overlay
from handray.reporting.page import (
    Block,
    Figure,
    Gallery,
    Section,
    Table,
    Text,
    Tile,
    photo,
    plot,
    render,
)
from handray.reporting.run_folder import REPORT, best_epoch
from handray.reporting.training_record import TrainingRecord
from handray.whole_files import write_text

LOOKS = 8
"""Test images that are shown with their masks."""
SIDE = 480


def write_report(training: TrainingRecord) -> Path:
    """Leave ``report.html`` in the run's folder; its path.

    Raises:
        ValueError: a file of the run is damaged.
        OSError: it can't be read, or the report not be written.

    """
    config, data = training.config, training.data
    parts = [_numbers(training), _curves(training)]
    if judged := training.judged:
        parts += [
            sections.of_classes(judged),
            sections.of_slices(judged, _by_fold(training, judged)),
            sections.of_worst(judged),
            sections.of_thresholds(judged),
            sections.of_reliability(judged),
        ]
    else:
        why = _without_labels(training)
        titles = ("Dice by class", "Dice by slice", "Worst cases", "Threshold")
        parts += [sections.missing(t, why) for t in (*titles, "Reliability of probabilities")]
    parts += [_looks(training), _time(training)]
    parts.append(sections.of_making(_facts(training), sections.settings_of(config)))
    path = training.run.path / REPORT
    subtitle = f"{config.model.model} at {config.data.size} px on {data.root}, {_now()}"
    write_text(path, render(f"Run {training.run.name}", subtitle, parts))
    return path


def _numbers(training: TrainingRecord) -> Section:
    facts: dict[str, str] = {}
    if judged := training.judged:
        on = "out-of-fold" if training.config.data.folds > 1 else "test"
        facts |= sections.told(f"{on} Dice", judged.mean())
        facts["spread over images"] = f"{judged.dice_NC.mean(axis=1).std():.4f}"
    output = training.output
    if training.config.data.folds > 1 and output and training.labels.covers(output.image_names):
        result = Judged.of("", [output], training.labels)
        facts["test Dice, folds voted"] = f"{result.mean().dice:.4f}"
    data, folds = training.data, training.config.data.folds
    facts |= {
        "folds": f"{len(training.done)} of {folds}" if folds > 1 else "none held out",
        "images to train on": str(len(data.train)),
        "people": str(len({image.person for image in data.train})),
        "test images": str(len(data.test)),
        "classes": str(len(data.class_names)),
        "wall time": duration(training.seconds),
    }
    remarks = [f"Fold {n} failed: {why}" for n, why in sorted(training.failures.items())]
    lost = set(range(folds)) - set(training.done) - set(training.failures)
    remarks += [f"Fold {fold} isn't trained yet." for fold in sorted(lost)]
    return sections.in_numbers(facts, *remarks)


def _curves(training: TrainingRecord) -> Section:
    if not training.done:
        return sections.missing("Curves", "No fold is finished.")
    rows: list[list[Any]] = []
    for fold, history in zip(training.done, training.histories.values(), strict=True):
        best = best_epoch(training.run.fold(fold))
        rows.append(
            [training.name(fold), best["dice"], best["epoch"], len(history), history[-1]["steps"]]
        )
    head = ["", "best Dice", "at epoch", "epochs", "steps"]
    curves = plot(figures.curves(training.histories), "Curves")
    caption = "The ring is the epoch whose network is kept."
    return Section("Curves", [Figure(curves, caption), Table(head, rows)], len(rows))


def _by_fold(training: TrainingRecord, judged: Judged) -> dict[str, Mean]:
    """Means of the folds' own images."""
    if training.config.data.folds == 1:
        return {}
    place = {image.name: number for number, image in enumerate(judged.images)}
    means = {}
    for fold in training.done:
        chosen = np.zeros(len(place), bool)
        names = training.levels(fold, OUT_OF_FOLD)[MIDDLE].image_names
        chosen[[place[name] for name in names]] = True
        means[training.name(fold)] = judged.mean(images_N=chosen)
    return means


def _without_labels(training: TrainingRecord) -> str:
    if training.config.data.folds > 1:
        return "No fold is finished, so there are no out-of-fold masks."
    return (
        "All images were trained on and none was held out, and the test images have no labels: "
        "there is nothing to measure the network by."
    )


def _looks(training: TrainingRecord) -> Section:
    """Test images with their masks."""
    title, output = "Test images", training.output
    if output is None:
        none = "The data set has no test images."
        return sections.missing(title, none if not training.data.test else "They aren't voted yet.")
    paths = {image.name: image.image_path for image in training.data.test}
    count = len(output.image_names)
    tiles: list[Tile] = []
    blocks: list[Block] = [Text(f"{min(LOOKS, count)} of {count}, with the masks of {OUTPUT}.")]
    for number in [count * n // LOOKS for n in range(LOOKS)] if count > LOOKS else range(count):
        name = output.image_names[number]
        rows = output.masks(number)
        try:
            image_HW = read_image(paths[name])
        except (OSError, ValueError) as error:
            blocks.append(Text(f"{name} can't be read any more: {error}", small=True))
            continue
        picture = draw_overlay(image_HW, rows, class_colours(output.class_names), fill=0.25)
        tiles.append(Tile(photo(picture, name, SIDE), name))
    return Section(title, [*blocks, Gallery(tiles)], count)


def _time(training: TrainingRecord) -> Section:
    """What the wall time of each fold went into."""
    decoding = training.run.notes().get("decode_seconds")
    seconds = sections.seconds_of(decoding, "all folds", training.histories)
    if not seconds:
        return sections.missing("Time spent", "Nothing of it was recorded.")
    shown = ["decoding", *sections.PARTS]
    rows: list[list[Any]] = [
        [name, *(_seconds(parts.get(part)) for part in shown), *_pace(history)]
        for name, parts in seconds.items()
        for history in [training.histories.get(name, [])]
    ]
    head = ["", *shown, "images/s", "waiting"]
    whole = (
        f"The whole run took {duration(training.seconds)}; what is not in here is the start of "
        "Ray, of workers and of networks, checkpoints, and the final prediction."
    )
    picture = plot(figures.time_spent(seconds), "Time spent")
    return Section("Time spent", [Figure(picture), Table(head, rows), Text(whole, small=True)])


def _seconds(value: float | None) -> str | None:
    return None if value is None else duration(value)


def _pace(history: Sequence[dict[str, Any]]) -> list[Any]:
    """Images a second and the share of time that a fold waited for them."""
    if not history:
        return [None, None]
    worked = sum(r["step_seconds"] + r["wait_seconds"] for r in history)
    images = sum(r["images_per_s"] * (r["step_seconds"] + r["wait_seconds"]) for r in history)
    share = sum(r["wait_seconds"] for r in history) / worked
    return [images / worked, f"{share:.1%}"]


def _facts(training: TrainingRecord) -> dict[str, object]:
    notes = training.run.notes()
    precision = notes.get("precision") or {}
    facts = {
        "data": training.data.root,
        "data's digest": json.loads((training.run.path / "config.json").read_text()).get("data"),
        "left out": ", ".join(notes.get("skipped", [])),
        "starting weights": notes.get("weights"),
        "arithmetic": precision.get("name") and f"{precision['name']} ({precision['reason']})",
        "trained on": notes.get("shares"),
        "folder": training.run.path,
        **{f"MLflow run {key}": run_id for key, run_id in notes.get("mlflow", {}).items()},
    }
    return {key: value for key, value in facts.items() if value}


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
