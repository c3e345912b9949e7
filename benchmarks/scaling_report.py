"""Tables and a picture of what the model of scaling_model.py predicts; none of it is measured."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from scaling_model import (
    Assumptions,
    CoreCost,
    Stages,
    cores_needed,
    epoch_seconds,
    first_pass_seconds,
    gpu_stages,
)

from handray.bones import BONES
from handray.data.stream import Frame

Costs = Mapping[int, CoreCost]
"""What a core needs, by side in pixels."""
GPUS = (1, 2, 4, 8, 16, 32, 64)
IMAGES = (800, 10_000, 100_000, 1_000_000)
RATES = (2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Images/s that the picture's axes name."""
CLUSTER = 8
"""GPUs that the tables of data set sizes are about."""


def predictions(given: Assumptions, costs: Costs) -> str:
    """All tables, in Markdown."""
    return "\n".join(
        [*_by_gpus(given, costs), "", *_by_images(given, costs), "", *_full(given, costs)]
    )


def _by_gpus(given: Assumptions, costs: Costs) -> Iterator[str]:
    yield (
        f"Predicted, not measured: {given.folds} folds of {IMAGES[0]} images on V100s, "
        f"HRNetV2-W48, {given.batch} images a GPU and step, {given.ethernet:g} Gbit/s "
        "between nodes; more GPUs than folds train other seeds or trials\n"
    )
    yield (
        "| px | GPUs | a fold a GPU, images/s | epoch of all folds, s | DDP, images/s | GPU busy "
        "| bottleneck | epoch of all folds, s |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for size, cost in costs.items():
        for gpus in GPUS:
            alone = gpu_stages(given, cost, size, gpus, 1, False)
            together = gpu_stages(given, cost, size, gpus, gpus, False)
            rounds = -(-given.folds // gpus)
            yield (
                f"| {size} | {gpus} | {gpus / alone.seconds:.0f} "
                f"| {rounds * epoch_seconds(given, cost, alone, IMAGES[0], 1):.0f} "
                f"| {gpus / together.seconds:.0f} | {together.busy:.0%} | {together.bottleneck} "
                f"| {given.folds * epoch_seconds(given, cost, together, IMAGES[0], gpus):.0f} |"
            )


def _by_images(given: Assumptions, costs: Costs) -> Iterator[str]:
    yield f"Predicted: {CLUSTER} GPUs, a training on each, by the size of the data set\n"
    yield (
        "| px | images | rows, GB | feed | images/s | GPU busy | bottleneck | epoch of a fold "
        "| pass before it |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for size, cost in costs.items():
        for images in IMAGES:
            stages = _stages(given, cost, size, images)
            epoch = epoch_seconds(given, cost, stages, images, 1)
            before = first_pass_seconds(given, cost, images, CLUSTER)
            yield (
                f"| {size} | {images:,} | {images * Frame(size, len(BONES)).row_bytes / 1e9:,.0f} "
                f"| {'streamed' if stages.decode else 'cached'} | {CLUSTER / stages.seconds:.0f} "
                f"| {stages.busy:.0%} | {stages.bottleneck} | {_time(epoch)} | {_time(before)} |"
            )


def _full(given: Assumptions, costs: Costs) -> Iterator[str]:
    yield (
        f"A node of {given.node_bytes / 1e9:.0f} GB keeps {given.room / 1e9:.0f} GB of rows in its "
        "object store. Every rank maps all rows, so every node holds a copy, and more nodes don't "
        "help."
    )
    for size, cost in costs.items():
        stages = _stages(given, cost, size, 10**9)
        wanted = given.gpu_images_per_s(size)
        yield (
            f"- {size} px: from {given.most_images(size) + 1:,} images on each epoch decodes anew, "
            f"{1 / stages.decode:.0f} images/s a GPU with the cores of its "
            f"{given.cores_a_gpu} that the plan leaves to decoding. It could train {wanted:.0f}: "
            f"it is {'starved' if stages.decode > stages.device else 'not starved'}; decoding and "
            f"augmentation would take {cores_needed(given, cost, size):.1f} cores a GPU."
        )
    yield (
        "With --feed cached such rows would spill to the disk without an error, and be read "
        "back in random order. The remedy is a cache of memory-mapped rows on a local disk "
        "(--cache DIR)."
    )


def _stages(given: Assumptions, cost: CoreCost, size: int, images: int) -> Stages:
    return gpu_stages(given, cost, size, CLUSTER, 1, images > given.most_images(size))


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def picture(
    given: Assumptions, costs: Costs, points: Mapping[str, tuple[float, float]], path: Path
) -> None:
    """Write a PNG: the model against measured points, and its images/s by GPUs and by images.

    Args:
        given: what is assumed.
        costs: what a core needs.
        points: predicted and measured images/s of a training, by its name.
        path: the file.

    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (checked, by_gpus, by_images) = pyplot.subplots(1, 3, figsize=(15, 4.8))
    ends = [min(min(p) for p in points.values()) / 1.5, max(max(p) for p in points.values()) * 1.5]
    checked.plot(ends, ends, color="0.7", zorder=0)
    for name, (predicted, found) in points.items():
        checked.plot(found, predicted, "o", label=name)
    checked.set(title="This machine", xlabel="measured images/s", ylabel="predicted images/s")

    size = 1024
    alone = [n / gpu_stages(given, costs[size], size, n, 1, False).seconds for n in GPUS]
    by_gpus.plot(GPUS, alone, "o-", label="a fold a GPU")
    for ethernet in (100.0, 25.0, 10.0):
        other = replace(given, ethernet=ethernet)
        together = [n / gpu_stages(other, costs[size], size, n, n, False).seconds for n in GPUS]
        by_gpus.plot(GPUS, together, "o--", label=f"one fold, DDP, {ethernet:g} Gbit/s")
    by_gpus.set(title=f"V100s, predicted: {size} px, cached", xlabel="GPUs", ylabel="images/s")

    for side, cost in costs.items():
        counts = sorted([*IMAGES, given.most_images(side), given.most_images(side) + 1])
        rates = [CLUSTER / _stages(given, cost, side, count).seconds for count in counts]
        (line,) = by_images.plot(counts, rates, label=f"{side} px")
        by_images.axvline(given.most_images(side), color=line.get_color(), ls=":", lw=1)
    by_images.set(
        title=f"{CLUSTER} V100s, predicted; dotted: object store full",
        xlabel="images in the data set",
        ylabel="images/s",
    )
    for axes in (checked, by_gpus, by_images):
        axes.set(xscale="log", yscale="log")
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
        axes.minorticks_off()
    checked.set_xticks(RATES[:4], RATES[:4])
    checked.set_yticks(RATES[:4], RATES[:4])
    by_gpus.set_xticks(GPUS, GPUS)
    by_gpus.set_yticks(RATES[3:], RATES[3:])
    by_images.set_xticks(IMAGES, [f"{images:,}" for images in IMAGES])
    by_images.set_yticks(RATES[3:-1], RATES[3:-1])
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
