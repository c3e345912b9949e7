"""The charts of an audit, each a matplotlib figure that shows one thing."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from handray.reporting.audit import OverlapFacts
from handray.reporting.figures import MOST_CLASSES, legend, name_rows, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAIN, TEST, DIM = "#0072b2", "#d55e00", "#8a939e"
MOST_PAIRS = 20


def gray_levels(
    train: NDArray[np.int64], test: NDArray[np.int64], mean: float, std: float
) -> "Figure":
    """Share of pixels at each gray level, on a logarithmic scale; mean and std of the training."""
    figure, (axes,) = new_figure(11, 3.2, 1)
    for counts, colour, name in ((train, TRAIN, "training images"), (test, TEST, "test images")):
        if counts.any():
            axes.step(
                np.arange(256), counts / counts.sum(), where="mid", color=colour, label=name, lw=1.4
            )
    axes.axvline(mean, color=TRAIN, lw=1.2, ls="--")
    axes.axvspan(max(mean - std, 0), mean + std, color=TRAIN, alpha=0.08, lw=0, label="mean ± std")
    axes.set(yscale="log", xlabel="gray level", ylabel="share of pixels", xlim=(-1, 256))
    legend(axes)
    return figure


def films(
    means: NDArray[np.float64], contrasts: NDArray[np.float64], is_train: NDArray[np.bool_]
) -> "Figure":
    """Each film's brightness and contrast."""
    figure, (axes,) = new_figure(6.5, 3.8, 1)
    for chosen, colour, name in ((is_train, TRAIN, "training"), (~is_train, TEST, "test")):
        if chosen.any():
            axes.plot(
                means[chosen],
                contrasts[chosen],
                "o",
                ms=4,
                color=colour,
                alpha=0.55,
                mew=0,
                label=name,
            )
    axes.set(xlabel="mean gray level", ylabel="contrast (5th to 95th percentile)")
    legend(axes)
    return figure


def class_areas(
    pixels_NC: NDArray[np.int64], names: Sequence[str], colours: Sequence[str]
) -> "Figure":
    """Pixels of each class over all images: box, whiskers and outliers, on a logarithmic scale."""
    shown = [c for c in range(len(names)) if (pixels_NC[:, c] > 0).any()][:MOST_CLASSES]
    figure, (axes,) = new_figure(11, 0.8 + 0.24 * len(shown), 1)
    values = [pixels_NC[pixels_NC[:, c] > 0, c] for c in shown]
    boxes = axes.boxplot(
        values,
        positions=range(len(shown)),
        orientation="horizontal",
        widths=0.62,
        patch_artist=True,
    )
    for patch, c in zip(boxes["boxes"], shown, strict=True):
        patch.set(facecolor=colours[c], edgecolor="#333a42", lw=0.8)
    for part in ("whiskers", "caps", "medians"):
        for line in boxes[part]:
            line.set(color="#333a42", lw=0.9)
    for line in boxes["fliers"]:
        line.set(marker=".", ms=4, mfc="#333a42", mec="none", alpha=0.6)
    name_rows(axes, [names[c] for c in shown])
    axes.set(xscale="log", xlabel="pixels")
    return figure


def pairs(overlaps: Mapping[tuple[str, str], OverlapFacts]) -> "Figure":
    """Mean IoU of the pairs of classes that overlap most."""
    shown = list(overlaps.items())[:MOST_PAIRS]
    figure, (axes,) = new_figure(8.5, 0.8 + 0.25 * len(shown), 1)
    axes.barh(range(len(shown)), [facts.iou for _, facts in shown], color=TRAIN, height=0.66)
    name_rows(axes, [f"{one} - {other}" for (one, other), _ in shown])
    axes.set_xlabel("mean IoU over the images that have both")
    return figure


def bends(right: Sequence[float], left: Sequence[float], limit: float) -> "Figure":
    """Bend of the wrist of each hand, right and left; lines where a wrist counts as bent."""
    figure, (axes,) = new_figure(8.5, 3.0, 1)
    known = [np.array([bend for bend in side if not np.isnan(bend)]) for side in (right, left)]
    every = np.concatenate([*known, [-limit, limit]])
    edges = np.arange(np.floor(every.min() / 4) * 4, every.max() + 4.1, 4)
    axes.hist(
        known,
        bins=list(edges),
        stacked=True,
        color=[TRAIN, TEST],
        label=["right", "left"],
        rwidth=0.9,
    )
    for place in (-limit, limit):
        axes.axvline(place, color=DIM, lw=1, ls="--")
    axes.set(xlabel="degrees, positive to the little finger", ylabel="hands")
    legend(axes)
    return figure
