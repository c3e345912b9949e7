"""How fast handray is beside the competition's own way: a table, a picture, results/speed.json.

  python benchmarks/speed.py
  python benchmarks/speed.py --rows vote dice
  python benchmarks/speed.py --data DIR --size 256        # rows of files, on a data folder

Both ways run in turn, after they were shown to give the same; a row is the median of several
turns, CPU time of one thread where it says nothing else. The baseline (baseline.py) draws,
upsamples, decodes and compares whole masks. What it takes minutes for is measured on a part of the
images and multiplied, as the row says.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import data_rows
import mask_rows
import matplotlib as mpl
import training_rows
from timing import Row

from handray.cli import Parser, run_job
from handray.inference.provenance import processor
from handray.whole_files import write_text

RESULTS = Path(__file__).parent / "results"
ROWS: dict[str, Callable[[], Row]] = {
    "labels": data_rows.labels,
    "sample": data_rows.sample,
    "cached": data_rows.cached_sample,
    "disk": data_rows.disk,
    "bytes": data_rows.sample_bytes,
    "epoch": data_rows.epoch,
    "decodes": data_rows.decodes,
    "logits": mask_rows.texts_from_logits,
    "vote": mask_rows.vote,
    "dice": mask_rows.dice,
    "choose": mask_rows.choose,
    "train": training_rows.through_train,
    "ranks": training_rows.two_ranks,
    "wait": training_rows.waiting,
}


OF_FILES = ("labels", "sample", "cached", "disk", "bytes")


def main() -> int:
    """Measure the rows that are asked for, and keep each as it is done."""
    parser = Parser(__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, help="default: all")
    parser.add_argument("--data", metavar="DIR", help="data folder, for rows of files alone")
    parser.add_argument("--size", type=int, default=data_rows.SIZE, help="with --data, px")
    options = parser.parse_args()
    kind, chosen = "speed", options.rows or list(ROWS)
    if options.data:
        data_rows.use(options.data, options.size)
        kind, chosen = "speed_data", options.rows or list(OF_FILES)
    path = RESULTS / f"{kind}.json"
    known: dict[str, dict[str, Any]] = {}
    if path.exists():
        known = {one["row"]: one for one in json.loads(path.read_text())}
    for number, name in enumerate(chosen, 1):
        print(f"{number} of {len(chosen)}: {name}", flush=True)
        row = {**asdict(ROWS[name]()), "machine": processor(), "date": date.today().isoformat()}
        known[row["row"]] = row
        write_text(path, json.dumps(list(known.values()), indent=1) + "\n")
        print(f"  ratio {row['ratio']:g} ({row['spread']}), goal {row['goal']:g}", flush=True)
    print(f"\n{table(list(known.values()))}\n\n{path}")
    if not options.data:
        draw(list(known.values()), RESULTS / "speed.png")
    return 0


def table(rows: list[dict[str, Any]]) -> str:
    """All rows in Markdown."""
    lines = [
        "| | baseline | ours | unit | ratio | spread | goal | the same |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = f"{row['ratio']:.3g}" if row["ratio"] >= row["goal"] else f"**{row['ratio']:.3g}**"
        numbers = f"{row['baseline']:.3g} | {row['ours']:.3g} | {row['unit']}"
        lines.append(
            f"| {row['row']} | {numbers} | {ratio} | {row['spread']} | {row['goal']:g} "
            f"| {row['equal']} |"
        )
    notes = [f"- {row['row']}: {row['note']}" for row in rows if row["note"]]
    return "\n".join([*lines, "", *notes])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Ratios as bars on a logarithmic axis, a line where the goal is."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 0.4 * len(rows) + 1), layout="constrained")
    for y, row in enumerate(reversed(rows)):
        reached = row["ratio"] >= row["goal"]
        axes.barh(y, row["ratio"] - 0.1, left=0.1, color="#4477aa" if reached else "#cc6677")
        axes.plot([row["goal"]] * 2, [y - 0.4, y + 0.4], color="black")
        axes.text(row["ratio"] * 1.08, y, f"{row['ratio']:.3g}", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [row["row"] for row in reversed(rows)], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(0.1, 10 ** math.ceil(math.log10(max(row["ratio"] for row in rows)) + 0.2))
    axes.set_xlabel("times as fast as the baseline; black: the goal")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    run_job(main)
