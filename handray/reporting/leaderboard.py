"""An ablation's table and picture."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from handray.reporting.ablation import Noise
from handray.reporting.figures import legend, name_rows, new_figure, save_png
from handray.whole_files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEADERBOARD, SLICES, PICTURE = "leaderboard.csv", "slices.csv", "leaderboard.png"


def leaderboard_text(board: pd.DataFrame, level: Noise) -> str:
    """The table for people, with the noise below it."""
    width = max(len(str(name)) for name in board["policy"])
    lines = [
        "",
        f"{'policy':<{width}}  {'Dice':>6}  {'difference':>10}  {'95 % interval':>15}  epochs",
    ]
    for row in board.itertuples():
        mark = "  inside the noise" if row.inside_noise else ""
        stopped = " stopped early" if row.stopped_early else ""
        lines.append(
            f"{row.policy:<{width}}  {row.dice:6.4f}  {row.difference:>+10.4f}  "
            f"{row.low:+.4f} {row.high:+.4f}  {row.epochs_run:>6}{stopped}{mark}"
        )
    lines += ["", noise_text(level)]
    return "\n".join(lines)


def noise_text(level: Noise) -> str:
    """How far two equal policies differ, for people."""
    if not level.freedom:
        return (
            "No policy has two seeds that ran to their end: the noise is unknown there; what was "
            "stopped early is held against the noise at its own percent, if that is known."
        )
    return (
        f"Noise: the same policy by another seed differs by {level.deviation:.4f} (standard "
        f"deviation, {level.freedom} degrees of freedom), so a difference of one pair of trials "
        f"below {level.floor(1):.4f}, of two below {level.floor(2):.4f}, says nothing."
    )


def save_leaderboard(
    folder: Path, board: pd.DataFrame, slices: pd.DataFrame, level: Noise
) -> list[Path]:
    """Write both tables and the picture; returns their paths."""
    write_text(folder / LEADERBOARD, board.round(6).to_csv(index=False))
    write_text(folder / SLICES, slices.round(6).to_csv(index=False))
    save_png(folder / PICTURE, board_figure(board))
    return [folder / name for name in (LEADERBOARD, SLICES, PICTURE)]


def board_figure(board: pd.DataFrame) -> "Figure":
    """Differences with their intervals, and a band as wide as the noise."""
    figure, (axes,) = new_figure(8, 1.2 + 0.28 * len(board), 1)
    noise = board["noise_floor"].fillna(0.0)
    if noise.any():
        axes.barh(range(len(board)), 2 * noise, left=-noise, height=1, color="0.9", label="noise")
    axes.axvline(0, color="0.6", linewidth=1)
    for place, row in enumerate(board.to_dict("records")):
        colour = "0.5" if row["inside_noise"] else "tab:blue"
        axes.plot([row["low"], row["high"]], [place, place], color=colour)
        marker = "x" if row["stopped_early"] else "o"
        axes.plot(row["difference"], place, marker, color=colour)
    name_rows(axes, board["policy"].tolist())
    axes.set_xlabel(
        "difference of held-out Dice from none, 95 % interval over people; x: stopped early"
    )
    if noise.any():
        legend(axes)
    return figure
