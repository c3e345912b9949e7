"""What a finished k-fold training shows: voted masks, scores, a table, a picture, a summary."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from handray.data.radiographs import DataFolder, read_image, read_truth
from handray.inference.ensemble import average_levels, vote_submissions, votes_needed
from handray.inference.levels import read_levels, write_levels
from handray.inference.members import OUT_OF_FOLD, OUTPUT
from handray.inference.score import score
from handray.inference.submission import (
    Submission,
    levels_beside,
    read_submission,
    write_submission,
)
from handray.reporting.colours import class_colours
from handray.reporting.console import dice_table
from handray.reporting.judged import out_of_fold
from handray.reporting.overlay import draw_overlay, save_sheet
from handray.reporting.run_folder import OVERLAY, RunFolder, best_epoch

PICTURES = 3
"""Radiographs in the overlay picture."""


def conclude(data: DataFolder, run: RunFolder, folds: int, seconds: float) -> dict[str, Any]:
    """Vote and score the folds; leaves output.csv, oof.csv, the levels of both, and
    overlay.png.

    Args:
        data: what was trained on.
        run: its folder, with all folds finished.
        folds: how many there are.
        seconds: wall seconds that the training took, those before a restart included.

    Returns:
        The summary: ``fold_dice``, ``class_dice``, ``seconds``, ``table``; ``oof_dice_mean`` where
        images were held out; ``test_dice_mean`` where the data set has its test images' truth.

    """
    homes = [run.fold(fold) for fold in range(folds)]
    shown: Submission | None = None
    numbers: dict[str, float] = {}
    fold_dice: list[float] = []
    class_dice: dict[str, float] = {}
    if folds > 1:
        shown = out_of_fold(data, [_read(home, OUT_OF_FOLD) for home in homes])
        write_submission(run.path / OUT_OF_FOLD, shown)
        levels = zip(
            *(read_levels(levels_beside(home / OUT_OF_FOLD)) for home in homes), strict=True
        )
        write_levels(
            levels_beside(run.path / OUT_OF_FOLD), [out_of_fold(data, level) for level in levels]
        )
        overlap = score(shown, {image.name: image.polygons for image in data.train})
        class_dice = dict(zip(data.class_names, overlap.dice_C().tolist(), strict=True))
        fold_dice = [best_epoch(home)["dice"] for home in homes]
        numbers["oof_dice_mean"] = overlap.dice()
    if data.test:
        votes = votes_needed(folds)
        shown = vote_submissions([_read(home, OUTPUT) for home in homes], votes)
        shown = replace(shown, source={"job": "train_kfold", "folds": folds, "votes_needed": votes})
        write_submission(run.path / OUTPUT, shown)
        members = [read_levels(levels_beside(home / OUTPUT)) for home in homes]
        write_levels(levels_beside(run.path / OUTPUT), average_levels(members))
        truth = read_truth(data.root, data)
        if truth and len(truth) == len(data.test):
            numbers["test_dice_mean"] = score(shown, truth).dice()
    if shown is not None:
        _picture(run.path / OVERLAY, data, shown)
    return {
        **numbers,
        "fold_dice": fold_dice,
        "class_dice": class_dice,
        "seconds": round(seconds, 1),
        "table": dice_table(fold_dice, class_dice, numbers),
    }


def _read(home: Path, name: str) -> Submission:
    return read_submission(home / name, name=home.name)


def _picture(path: Path, data: DataFolder, submission: Submission) -> None:
    """Overlays of a few images, spread over the submission."""
    paths = {image.name: image.image_path for image in (*data.train, *data.test)}
    count = len(submission.image_names)
    chosen = [count * number // PICTURES for number in range(min(PICTURES, count))]
    pictures = [
        draw_overlay(
            read_image(paths[submission.image_names[number]]),
            submission.masks(number),
            class_colours(submission.class_names),
        )
        for number in chosen
    ]
    save_sheet(path, [pictures])
