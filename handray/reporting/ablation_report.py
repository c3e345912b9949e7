"""The report of an ablation: which policies help, where, and on which images nothing helps.

Axes: N held-out images, C classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from handray.config import Config
from handray.data.radiographs import DataFolder, read_image
from handray.inference.score import truth_rows
from handray.reporting import figures, sections
from handray.reporting.ablation import BASELINE, OTHER_SEED, Noise, paired
from handray.reporting.colours import class_colours
from handray.reporting.console import duration
from handray.reporting.leaderboard import board_figure, noise_text
from handray.reporting.overlay import draw_overlay
from handray.reporting.page import (
    Block,
    Chip,
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
from handray.reporting.run_folder import REPORT, RunFolder
from handray.reporting.trials import TrialRecord
from handray.whole_files import write_text

SHOWN = 6
"""Policies whose curves are drawn, and images that are shown."""
Policies = Mapping[str, Sequence[TrialRecord]]


def write_ablation_report(
    run: RunFolder,
    config: Config,
    data: DataFolder,
    policies: Policies,
    board: pd.DataFrame,
    slices: pd.DataFrame,
    level: Noise,
) -> Path:
    """Leave ``report.html`` in the run's folder; its path.

    Args:
        run: of the ablation.
        config: of a trial that changes nothing.
        data: whose training images the records' rows are.
        policies: records by policy, BASELINE among them.
        board: of ``leaderboard``.
        slices: of ``by_slice``.
        level: the noise.

    Raises:
        OSError: the report can't be written.

    """
    order = [name for name in board["policy"] if name in policies]
    parts = [
        _numbers(policies, board, level),
        _board(board),
        _curves(policies, order),
        _classes(policies, order, data),
        _slices(slices, order),
        _hardest(policies, data),
        _time(run, policies),
        sections.of_making(
            {"data": data.root, "folder": run.path, "weights": run.notes().get("weights", "")},
            sections.settings_of(config),
        ),
    ]
    subtitle = f"{config.model.model} at {config.data.size} px on {data.root}"
    path = run.path / REPORT
    write_text(path, render(f"Augmentation policies, run {run.name}", subtitle, parts))
    return path


def _numbers(policies: Policies, board: pd.DataFrame, level: Noise) -> Section:
    records = [record for some in policies.values() for record in some]
    rows = board[~board["policy"].isin([BASELINE, OTHER_SEED])].to_dict("records")
    facts, said = {}, ""
    for best in rows[:1]:
        facts = {
            "the best policy": str(best["policy"]),
            f"its difference from {BASELINE}": f"{best['difference']:+.4f}",
            "its 95 % interval over people": f"{best['low']:+.4f} to {best['high']:+.4f}",
        }
        said = "This difference is inside the noise." if best["inside_noise"] else ""
    facts |= {
        "policies": str(len(policies)),
        "trials": str(len(records)),
        "stopped early": str(sum(record.stopped_early for record in records)),
        "held-out images": str(len(np.unique(np.concatenate([r.rows_N for r in records])))),
    }
    return sections.in_numbers(facts, *filter(None, (said, noise_text(level))))


def _board(board: pd.DataFrame) -> Section:
    columns = ["policy", "dice", "difference", "low", "high", "inside_noise", "epochs_run"]
    head = ["policy", "Dice", "difference", "95 % from", "to", "", "epochs"]
    rows = [
        [name, *(round(value, 4) + 0.0 for value in numbers), "noise" if inside else "", epochs]
        for name, *numbers, inside, epochs in board[columns].values.tolist()
    ]
    picture = Figure(plot(board_figure(board), "Differences of the policies"))
    return Section("Policies", [picture, Table(head, rows, shown=40)], len(board))


def _curves(policies: Policies, order: Sequence[str]) -> Section:
    names = dict.fromkeys([*order[:SHOWN], BASELINE])
    histories = {name: policies[name][0].history for name in names}
    picture = plot(figures.curves(histories, best=False), "Curves")
    caption = f"The best policies and {BASELINE}, the first trial of each."
    return Section("Curves", [Figure(picture, caption)])


def _classes(policies: Policies, order: Sequence[str], data: DataFolder) -> Section:
    """Dice of each class by the baseline, and what the best policy changes."""
    names, colours = data.class_names, class_colours(data.class_names)
    base_NC = np.concatenate([record.dice_ENC[-1] for record in policies[BASELINE]])
    # Paired at the same epoch: the best policy may have been stopped early.
    pairs = paired(policies[order[0]], policies[BASELINE])
    change_C = pairs.difference_NC.mean(axis=0) if pairs else np.full(len(names), np.nan)
    rows: list[list[Any]] = [
        [Chip(names[c], colours[c]), round(float(base_NC[:, c].mean()), 4), f"{change_C[c]:+.4f}"]
        for c in np.argsort(base_NC.mean(axis=0), kind="stable").tolist()
    ]
    picture = plot(figures.dice_of_classes(base_NC.astype(float), names), "Dice of each class")
    blocks: list[Block] = [Figure(picture, f"Trials of {BASELINE}, at their last epoch.")]
    if order[0] != BASELINE:
        blocks.append(Table(["class", f"Dice of {BASELINE}", f"change by {order[0]}"], rows))
    return Section("Dice by class", blocks, len(names))


def _slices(slices: pd.DataFrame, order: Sequence[str]) -> Section:
    table = slices.pivot_table(index="policy", columns="slice", values="difference", sort=False)
    shown = [name for name in order if name in table.index and name != BASELINE]
    if not shown or table.empty:
        return sections.missing("Dice by slice", f"Nothing is compared with {BASELINE}.")
    picture = figures.differences(table.loc[shown].to_numpy(), shown, list(table.columns))
    caption = f"Difference of Dice from {BASELINE}: green is better, brown is worse."
    return Section("Dice by slice", [Figure(plot(picture, "Difference by slice"), caption)])


def _hardest(policies: Policies, data: DataFolder) -> Section:
    """Images that all trials together do worst."""
    sums, counts = np.zeros(len(data.train)), np.zeros(len(data.train))
    for record in (record for some in policies.values() for record in some):
        sums[record.rows_N] += record.dice_ENC[-1].mean(axis=1)
        counts[record.rows_N] += 1
    with np.errstate(invalid="ignore"):
        dice_N = sums / counts
    seen = int((counts > 0).sum())
    blocks: list[Block] = [
        Text(
            f"The lowest of {seen} held-out images, by the mean of all trials, with their labels. "
            "Trials keep no masks, so there are no predictions, thresholds or probabilities here."
        )
    ]
    tiles, classes = [], len(data.class_names)
    for row in np.argsort(dice_N, kind="stable")[: min(SHOWN, seen)].tolist():
        image = data.train[row]
        try:
            image_HW = read_image(image.image_path)
        except (OSError, ValueError) as error:
            blocks.append(Text(f"{image.name} can't be read any more: {error}", small=True))
            continue
        label = truth_rows(image.polygons, classes, (image.height, image.width))
        picture = draw_overlay(image_HW, label, class_colours(data.class_names), 0, 250)
        note = f"person {image.person}"
        tiles.append(Tile(photo(picture, image.name, 640), image.name, note, f"{dice_N[row]:.3f}"))
    return Section("Worst cases", [*blocks, Gallery(tiles)], len(tiles))


def _time(run: RunFolder, policies: Policies) -> Section:
    """What the time of each policy's trials went into."""
    histories = {
        name: [epoch for record in records for epoch in record.history]
        for name, records in policies.items()
    }
    seconds = sections.seconds_of(run.notes().get("decode_seconds"), "all trials", histories)
    if not seconds:
        return sections.missing("Time spent", "Nothing of it was recorded.")
    whole = sum(sum(row.values()) for row in seconds.values())
    picture = plot(figures.time_spent(seconds), "Time spent")
    caption = f"Trainings added up, several of which ran side by side: {duration(whole)}."
    return Section("Time spent", [Figure(picture, caption)])
