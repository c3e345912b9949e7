"""A hyper-parameter search's table, picture and best configuration."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from handray.config import Config, identity, replaced
from handray.reporting.figures import legend, name_rows, new_figure, save_png
from handray.reporting.trials import TrialRecord
from handray.whole_files import write_json, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE, PICTURE, BEST_CONFIG = "trials.csv", "search.png", "best.json"


def trial_table(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """One row a trial: name, dice, percent of a whole training, and its keys; the best first.

    Trials that ran to their end stand before those that were stopped.
    """
    rows = [
        {
            "trial": record.trial.name,
            "dice": record.history[-1]["dice"],
            "percent": record.percent,
            **record.trial.changes,
        }
        for record in records
    ]
    table = pd.DataFrame(rows)
    table["whole"] = table["percent"] == 100
    table = table.sort_values(["whole", "dice"], ascending=False, ignore_index=True)
    return table.drop(columns="whole")


def save_search(
    folder: Path,
    config: Config,
    records: Sequence[TrialRecord],
    importances: Mapping[str, float],
) -> list[Path]:
    """Write the table, the picture, and the best trial's whole configuration; their paths.

    Args:
        folder: the run's.
        config: of a trial that changes nothing.
        records: of all trials, one at least.
        importances: share of each key in what makes trials good.

    """
    table = trial_table(records)
    write_text(folder / TABLE, table.to_csv(index=False))
    save_png(folder / PICTURE, _figure(records, importances))
    best = next(r for r in records if r.trial.name == table["trial"][0])
    write_json(folder / BEST_CONFIG, identity(replaced(config, best.trial.changes)))
    return [folder / name for name in (TABLE, PICTURE, BEST_CONFIG)]


def search_text(table: pd.DataFrame, importances: Mapping[str, float], shown: int = 5) -> str:
    """The best trials and what mattered, for people."""
    lines = ["", "Best trials (held-out Dice at source size)"]
    for row in table.head(shown).to_dict("records"):
        keys = [key for key in row if "." in str(key)]
        values = "  ".join(f"{str(key).split('.')[1]} {_short(row[key])}" for key in keys)
        stopped = "" if row["percent"] == 100 else f" (stopped at {row['percent']} %)"
        lines.append(f"  {row['trial']}  {row['dice']:.4f}{stopped}  {values}")
    if importances:
        lines.append("What mattered (share of importance)")
        lines += [f"  {key:<24} {share:.2f}" for key, share in importances.items()]
    else:
        lines.append("Too few trials to say what mattered.")
    return "\n".join(lines)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _figure(records: Sequence[TrialRecord], importances: Mapping[str, float]) -> "Figure":
    """Dice of each trial in the order of their numbers, the best so far, and importances."""
    figure, (history, shares) = new_figure(11, 4.5, 2)
    dice = [record.history[-1]["dice"] for record in records]
    for stopped, marker, label in ((False, "o", "whole"), (True, "x", "stopped early")):
        chosen = [n for n, record in enumerate(records) if record.stopped_early == stopped]
        history.plot(chosen, [dice[n] for n in chosen], marker, label=label)
    history.plot(list(accumulate(dice, max)), color="0.6", label="best so far")
    history.set(xlabel="trial", ylabel="held-out Dice")
    legend(history)
    shares.barh(range(len(importances)), list(importances.values()))
    name_rows(shares, list(importances))
    shares.set_xlabel("importance" if importances else "too few trials for importances")
    return figure
