"""What an evaluation says: means by class, group and slice, spread, interval, the worst images.

Axes: N images, C classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from handray.inference.evaluation import HD95, Evaluation
from handray.inference.labels import Labels
from handray.reporting.ablation import bootstrap_interval, slices

WORST = 5
Floats = NDArray[np.float64]
HEADS = {
    "dice": "Dice",
    "surface_dice_2px": "SD 2 px",
    "surface_dice_4px": "SD 4 px",
    HD95: "HD95 px",
    "precision": "precis.",
    "recall": "recall",
}


def report(evaluation: Evaluation, labels: Labels | None) -> dict[str, Any]:
    """Sum an evaluation up in plain types.

    Args:
        evaluation: of any images.
        labels: of their data folder, which knows people, sides and bends; None without one.

    Returns:
        ``mean`` (each measure), ``spread`` (standard deviation of the images' Dice), ``interval``
        (95 % of the mean Dice; None for a single one) and ``interval_over`` (people or images),
        ``worst`` (images and Dice), ``one_mask_empty`` (masks whose HD95 is infinite and not in
        its mean), and means by ``class``, ``group``, ``slice``.

    """
    dice_NC = evaluation.measures["dice"]
    dice_N = dice_NC.mean(axis=1)
    names = evaluation.image_names
    known = labels is not None and set(names) <= set(labels.people)
    drawn = [labels.people[name] for name in names] if labels and known else list(names)
    interval = list(bootstrap_interval(dice_N, drawn)) if len(set(drawn)) > 1 else None
    shown = [labels.images[name] for name in names] if labels and labels.covers(names) else []
    worst = np.argsort(dice_N, kind="stable")[:WORST]
    everywhere = np.ones(dice_NC.shape, bool)
    kinds, groups = slices(shown, evaluation.class_names)
    channel_C = np.arange(dice_NC.shape[1])
    by_class = {
        name: everywhere & (channel_C == c) for c, name in enumerate(evaluation.class_names)
    }
    return {
        "images": len(dice_N),
        "mean": _means(evaluation, everywhere),
        "spread": float(dice_N.std()),
        "interval": interval,
        "interval_over": "people" if known else "images",
        "worst": {evaluation.image_names[n]: float(dice_N[n]) for n in worst},
        "one_mask_empty": int(np.isinf(evaluation.measures[HD95]).sum()),
        "class": {name: _means(evaluation, cells) for name, cells in by_class.items()},
        "group": {g: _means(evaluation, everywhere & chosen) for g, chosen in groups.items()},
        "slice": {
            kind: _means(evaluation, everywhere & chosen[:, None]) for kind, chosen in kinds.items()
        },
    }


def _means(evaluation: Evaluation, cells_NC: NDArray[np.bool_]) -> dict[str, float | None]:
    """Mean of each measure over the cells where it is a finite number; None without any."""
    means: dict[str, float | None] = {}
    for name, values_NC in evaluation.measures.items():
        kept = values_NC[cells_NC & np.isfinite(values_NC)]
        means[name] = float(kept.mean()) if kept.size else None
    return means


def report_text(facts: dict[str, Any]) -> str:
    """The report for people."""
    tables = {"": {"all": facts["mean"]}}
    tables |= {kind: facts[kind] for kind in ("group", "slice", "class") if facts[kind]}
    width = max(len(name) for table in tables.values() for name in table)
    lines = [f"{'':<{width}}  " + "  ".join(f"{head:>7}" for head in HEADS.values())]
    for kind, table in tables.items():
        if kind:
            lines.append(f"by {kind}")
        rows = sorted(table.items(), key=lambda row: row[1]["dice"]) if kind else table.items()
        lines += [f"{name:<{width}}  {_cells(means)}" for name, means in rows]
    interval = ""
    if facts["interval"]:
        low, high = facts["interval"]
        interval = f", 95 % interval over {facts['interval_over']} {low:.4f} to {high:.4f}"
    lines += [
        "",
        f"Dice of {facts['images']} images: mean {facts['mean']['dice']:.4f}, standard deviation "
        f"{facts['spread']:.4f}{interval}",
        "Worst images:",
        *(f"  {dice:.4f}  {name}" for name, dice in facts["worst"].items()),
    ]
    if facts["one_mask_empty"]:
        lines.append(
            f"{facts['one_mask_empty']} masks are empty on one side only: no distance to measure, "
            "so they are not in HD95's mean"
        )
    return "\n".join(lines)


def _cells(means: dict[str, float | None]) -> str:
    digits = {HD95: 2}
    return "  ".join(
        f"{'':>7}" if means[name] is None else f"{means[name]:7.{digits.get(name, 4)}f}"
        for name in HEADS
    )
