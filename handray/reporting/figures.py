"""The plots of a report, each a matplotlib figure that shows one thing.

Axes: L levels, N images, C classes.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handray.bones import GROUPS, groups_of
from handray.inference.calibration import BANDS
from handray.reporting.judged import Mean
from handray.whole_files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
"""Okabe and Ito's hues that are seen on white, for folds and other things without a colour."""
GROUP_COLOURS = {"fingers": "#0072b2", "carpals": "#d55e00", "forearm": "#009e73", "all": "#1b2027"}
OTHER = "#6b7683"
PART_COLOURS = ("#56b4e9", "#0072b2", "#d55e00", "#9aa5b1", "#cc79a7")
MOST_CLASSES = 60
"""Classes in one chart: of more, the worst."""


def group_of(name: str) -> str:
    """The group of bones that a class belongs to; "" for other classes."""
    return next((group for group, names in GROUPS.items() if name in names), "")


def curves(histories: Mapping[str, Sequence[Mapping[str, Any]]], best: bool = True) -> "Figure":
    """Loss and held-out Dice of each training by epoch; a ring at the best epoch."""
    figure, (loss, dice) = new_figure(11, 3.6, 2)
    for number, (name, history) in enumerate(histories.items()):
        colour = LINES[number % len(LINES)]
        style = ("-", "--", ":")[number // len(LINES) % 3]
        epochs = [record["epoch"] for record in history]
        marker = "o" if len(epochs) == 1 else ""
        for axes, key in ((loss, "loss"), (dice, "dice")):
            values = [record[key] for record in history]
            axes.plot(epochs, values, style, color=colour, label=name, lw=1.6, marker=marker)
            if best and key == "dice" and np.isfinite(values).any():
                at = int(np.nanargmax(values))
                axes.plot(epochs[at], values[at], "o", ms=7, mfc="none", mew=1.8, color=colour)
    loss.set(xlabel="epoch", ylabel="training loss")
    dice.set(xlabel="epoch", ylabel="held-out Dice")
    if len(histories) <= 12:
        legend(loss)
    return figure


def dice_of_classes(dice_NC: Floats, class_names: Sequence[str]) -> "Figure":
    """Mean Dice of each class, the worst on top, with the spread over images."""
    order = np.argsort(dice_NC.mean(axis=0), kind="stable")[:MOST_CLASSES]
    figure, (axes,) = new_figure(9, 1.2 + 0.24 * len(order), 1)
    seen: dict[str, Any] = {}
    for place, c in enumerate(order.tolist()):
        group = group_of(class_names[c])
        colour = GROUP_COLOURS.get(group, OTHER)
        low, quarter, three, high = np.percentile(dice_NC[:, c], (5, 25, 75, 95))
        axes.plot([low, high], [place, place], color=colour, lw=1.4, alpha=0.55)
        axes.plot([quarter, three], [place, place], color=colour, lw=6, alpha=0.4)
        (seen[group],) = axes.plot(dice_NC[:, c].mean(), place, "o", color=colour, ms=5.5)
    name_rows(axes, [class_names[c] for c in order.tolist()])
    axes.set(xlabel="Dice at source size: mean, middle half and middle 90 % of the images")
    axes.grid(axis="y", visible=False)
    if groups := [group for group in GROUPS if group in seen]:
        legend(axes, [seen[group] for group in groups], groups)
    return figure


def dice_of_slices(means: Mapping[str, Mean]) -> "Figure":
    """Mean Dice of each slice with its interval over people."""
    figure, (axes,) = new_figure(9, 1.1 + 0.3 * len(means), 1)
    for place, (name, mean) in enumerate(means.items()):
        colour = GROUP_COLOURS.get(name, OTHER)
        if np.isfinite(mean.low):
            axes.plot([mean.low, mean.high], [place, place], color=colour, lw=2, alpha=0.6)
        axes.plot(mean.dice, place, "o", color=colour, ms=6)
    axes.axvline(next(iter(means.values())).dice, color="#c3cad2", lw=1, zorder=0)
    name_rows(axes, [f"{name}  ({mean.images})" for name, mean in means.items()])
    axes.set(xlabel="Dice at source size: mean and 95 % interval over people (number of images)")
    axes.grid(axis="y", visible=False)
    return figure


def dice_by(
    what: str, values: Sequence[float], dice_LC: Floats, class_names: Sequence[str]
) -> "Figure":
    """Mean Dice of all classes and of groups by what a pixel must have, at L values of it."""
    figure, (axes,) = new_figure(8, 3.8, 1)
    for name, chosen in _grouped(class_names).items():
        dice_L = dice_LC[:, chosen].mean(axis=1)
        colour = GROUP_COLOURS[name]
        axes.plot(values, dice_L, "-", color=colour, label=name, lw=2.2 if name == "all" else 1.4)
        at = int(dice_L.argmax())
        axes.plot(values[at], dice_L[at], "o", color=colour, ms=7)
    axes.set(xlabel=f"{what} (dot: the best)", ylabel="Dice")
    axes.set_xticks(values, [f"{value:.3g}" for value in values])
    legend(axes)
    return figure


def reliability(
    held_LC: NDArray[np.int64], true_LC: NDArray[np.int64], class_names: Sequence[str]
) -> "Figure":
    """How often pixels of a probability are the class's, and how many such pixels there are."""
    figure, (axes, share) = new_figure(11, 3.9, 2)
    middles = [sum(band) / 2 for band in BANDS]
    axes.plot([0, 1], [0, 1], "--", color="#aab3bd", lw=1, label="as it should be")
    for name, chosen in _grouped(class_names).items():
        held, true = held_LC[:, chosen].sum(axis=1), true_LC[:, chosen].sum(axis=1)
        with np.errstate(invalid="ignore"):
            found = true / held
        width = 2.2 if name == "all" else 1.4
        axes.plot(middles, found, "-o", color=GROUP_COLOURS[name], label=name, lw=width, ms=4.5)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="share that is true")
    legend(axes)
    held = held_LC.sum(axis=1)
    names = [f"{low:g} to {high:g}" for low, high in BANDS]
    share.bar(names, held / max(1, held.sum()), color=GROUP_COLOURS["fingers"], width=0.7)
    share.set(xlabel="predicted probability", ylabel="share of these pixels")
    share.tick_params(axis="x", labelsize=8)
    return figure


def time_spent(seconds: Mapping[str, Mapping[str, float]]) -> "Figure":
    """What each training's time went into, stacked: row -> part -> seconds."""
    figure, (axes,) = new_figure(9, 1.3 + 0.34 * len(seconds), 1)
    parts = list(dict.fromkeys(part for row in seconds.values() for part in row))
    most = max(sum(row.values()) for row in seconds.values())
    unit, size = ("h", 3600) if most > 7200 else ("min", 60) if most > 120 else ("s", 1)
    left = np.zeros(len(seconds))
    for part, colour in zip(parts, PART_COLOURS, strict=False):
        widths = np.array([row.get(part, 0.0) / size for row in seconds.values()])
        axes.barh(range(len(seconds)), widths, left=left, color=colour, height=0.6, label=part)
        left += widths
    name_rows(axes, list(seconds))
    axes.set_xlabel(unit)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(parts), frameon=False)
    return figure


def differences(values: Floats, rows: Sequence[str], columns: Sequence[str]) -> "Figure":
    """A table of signed numbers as colours: green is better, brown is worse."""
    figure, (axes,) = new_figure(2.2 + 0.95 * len(columns), 1.2 + 0.3 * len(rows), 1)
    most = max(1e-6, float(np.nanmax(np.abs(values), initial=0)))
    axes.imshow(values, cmap="BrBG", vmin=-most, vmax=most, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "w" if abs(value) > 0.7 * most else "#1b2027"
            axes.text(x, y, f"{value:+.3f}", ha="center", va="center", color=colour, fontsize=8.5)
    name_rows(axes, rows)
    axes.set_xticks(range(len(columns)), [name.replace(" ", "\n", 1) for name in columns])
    axes.grid(visible=False)
    return figure


def agreement(matrix_MM: Floats, names: Sequence[str]) -> "Figure":
    """A table of each pair's Dice as colours, columns by the rows' numbers."""
    members = len(names)
    figure, (axes,) = new_figure(5 + 0.6 * members, 2 + 0.6 * members, 1)
    low = float(matrix_MM[~np.eye(members, dtype=bool)].min(initial=1))
    image = axes.imshow(matrix_MM, cmap="viridis", vmin=min(low, 0.999), vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(matrix_MM):
        colour = "w" if value < (low + 1) / 2 else "#1b2027"
        axes.text(x, y, f"{value:.3f}", ha="center", va="center", color=colour)
    name_rows(axes, numbered(names))
    axes.set_xticks(range(members), [str(n) for n in range(1, members + 1)])
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, label="Dice of two members")
    return figure


def _grouped(class_names: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Which classes all are, and which each group has, where there is any."""
    everything = {"all": np.ones(len(class_names), bool)}
    return everything | {
        g: np.isin(class_names, bones) for g, bones in groups_of(class_names).items()
    }


def new_figure(width: float, height: float, columns: int) -> tuple["Figure", list["Axes"]]:
    """A figure of charts side by side, width and height in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    rows = figure.subplots(1, columns, squeeze=False)
    for axes in rows[0]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#9aa5b1")
        axes.tick_params(color="#9aa5b1", labelsize=9.5)
        axes.grid(color="#e9edf1", lw=0.8)
        axes.set_axisbelow(True)
    return figure, list(rows[0])


def save_png(path: Path, figure: "Figure") -> None:
    """Write a figure as a file of its own."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_bytes(path, content.getvalue())


def name_rows(axes: "Axes", names: Sequence[str]) -> None:
    """Rows of a chart from the top on; whatever the names hold is no formula."""
    plain = [name.encode("utf-8", "replace").decode() for name in names]
    short = [name if len(name) <= 40 else f"{name[:37]}..." for name in plain]
    axes.set_yticks(range(len(short)), short, parse_math=False)
    axes.set_ylim(len(short) - 0.4, -0.6)


def numbered(names: Sequence[str]) -> list[str]:
    """Names behind their numbers, from 1; of long ones the end, in which paths differ."""
    short = [name if len(name) <= 32 else f"...{name[-28:]}" for name in names]
    return [f"{number}  {name}" for number, name in enumerate(short, 1)]


def legend(axes: "Axes", handles: Sequence[Any] = (), names: Sequence[str] = ()) -> None:
    """The names of what a chart shows, or of the handles alone."""
    given = (list(handles), list(names)) if handles else ()
    axes.legend(*given, frameon=False, fontsize=9, loc="best")
