"""Which hand is which: people who seem to have the same hand twice."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from handray.data.audit.measure import LabelMeasures
from handray.data.radiographs import Radiograph

OTHER = {"R": "L", "L": "R"}
HAND = {"R": "right", "L": "left"}
FEWEST = 3
"""People with one hand of each side, below whom nothing is said of the order of their names."""
NEARLY_ALL = 0.8


def same_side_twice(
    images: Sequence[Radiograph], labels: Mapping[int, LabelMeasures], mirrored: AbstractSet[int]
) -> Iterator[tuple[int, str]]:
    """Images that are a person's second right or left hand: number and text.

    Where people's images are in the same order by name nearly everywhere (right, then left, in the
    competition), the one that breaks the order is meant, else both. What is known to be mirrored
    counts as the other side.
    """
    sides = {
        n: OTHER[label.order.side] if n in mirrored else label.order.side
        for n, label in labels.items()
        if label.order is not None
    }
    people: dict[str, list[int]] = {}
    for n in sorted(sides, key=lambda n: images[n].name):
        people.setdefault(images[n].person, []).append(n)
    pairs = {person: numbers for person, numbers in people.items() if len(numbers) == 2}
    usual = _usual_order([(sides[a], sides[b]) for a, b in pairs.values()])
    for person, numbers in pairs.items():
        if sides[numbers[0]] != sides[numbers[1]]:
            continue
        for n, expected in zip(numbers, usual or ("", ""), strict=True):
            if sides[n] != expected:
                yield n, f"the second {HAND[sides[n]]} hand of {person}"


def _usual_order(pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The order of sides that nearly all people with both hands have; None without one."""
    both = Counter(pair for pair in pairs if pair[0] != pair[1])
    if both.total() < FEWEST:
        return None
    order, count = both.most_common(1)[0]
    return order if count >= NEARLY_ALL * both.total() else None
