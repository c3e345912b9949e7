"""How training scales: measured on 1 and 2 ranks of one core, predicted for 1 to 64 V100s.

  python benchmarks/scaling.py

The measured part trains drawn hands by handray's own loop, feed and DDP (gloo), one thread a rank,
and measures what the model of scaling_model.py takes in: what a step, an augmented image and a
streamed one cost a core, and how fast gloo sums. Rows are kept in results/scaling.json as they are
measured; those of the same machine are not measured again. The model must then give every measured
training to within TOLERANCE, or the exit code is 1. Only then is it asked about V100s, of which
none were at hand: those numbers are predictions, and nothing but.
"""

from dataclasses import replace

from scaling_measure import BATCH, Measurements, Training
from scaling_model import Assumptions, Stages, all_reduce
from scaling_report import picture, predictions
from small_training import RESULTS

from handray.cli import Parser, run_job

TOLERANCE = 0.15
"""Of a measured rate, how far the model may be off."""
NETWORKS = (Training("hrnet_small", 256, 1), Training("hrnet", 64, 1))
"""W48 has its full gradients of 263 MB to sum, and at 64 px little else to do."""
TRAININGS = (
    *NETWORKS,
    *(replace(one, folds=2) for one in NETWORKS),
    *(replace(one, ranks=2) for one in NETWORKS),
    Training("hrnet_small", 64, 12, feed="streamed"),
)


def main() -> int:
    """Exit code: 0 the model gives what was measured, 1 it doesn't, 2 bad input."""
    Parser(__doc__).parse_args()
    measured = Measurements("scaling.json")
    points = {name_of(one): compared(measured, one) for one in TRAININGS}
    wrong = [name for name, (ours, found) in points.items() if abs(ours / found - 1) > TOLERANCE]
    if wrong:
        print(
            f"\nThe model is off by more than {TOLERANCE:.0%} for {', '.join(wrong)}: mistrust it"
        )
        return 1
    given, costs = Assumptions(), {size: measured.core_cost(size) for size in Assumptions().ceiling}
    print(f"\n{predictions(given, costs)}")
    picture(given, costs, points, RESULTS / "scaling.png")
    print(f"\nRows: {measured.results.path}; picture: {RESULTS / 'scaling.png'}")
    return 0


def name_of(one: Training) -> str:
    """A training in words."""
    ranks = "1 rank" if one.processes == 1 else f"{one.folds} folds" if one.folds > 1 else "2 ranks"
    return f"{one.network} {one.size} px, {one.feed}, {ranks}"


def compared(measured: Measurements, one: Training) -> tuple[float, float]:
    """Images/s on cores of their own, predicted and measured; prints them."""
    found = measured.training(one)
    rates = one.processes / predicted(measured, one), one.processes / found["core_seconds"]
    print(
        f"{name_of(one)}: predicted {rates[0]:.2f} images/s, measured {rates[1]:.2f}, "
        f"ratio {rates[0] / rates[1]:.2f} (by the wall's clock {found['images_per_s']:.2f})",
        flush=True,
    )
    return rates


def predicted(measured: Measurements, one: Training) -> float:
    """Core seconds of an image of a rank, by the model."""
    cost, step = measured.core_cost(one.size), measured.step(one)
    speed = measured.all_reduce()["bytes_per_core_second"]
    streamed = one.feed == "streamed"
    stages = Stages(
        device=step["core_seconds"],
        network=all_reduce(one.ranks, step["gradient_bytes"], speed) / BATCH,
        augment=cost.augment,
        decode=cost.stream + cost.start / one.images if streamed else 0.0,
        one_core=True,
    )
    return stages.seconds


if __name__ == "__main__":
    run_job(main)
