"""Faults planted into phantoms, as annotators and archives make them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from handray.bones import BONES, CARPALS, MIDDLE_METACARPAL, WRIST_CENTRE
from handray.data.audit.film import measure_film
from handray.data.audit.measure import Measures, measure_label
from handray.data.phantom import SIDES, Phantom, draw_hand
from handray.data.pose import hand_side, wrist_bend
from handray.data.radiographs import Radiograph

Polygons = dict[str, np.ndarray]


@dataclass
class Hand:
    """A film and its label, to be spoilt."""

    person: int
    side: str
    image: np.ndarray
    polygons: Polygons

    @classmethod
    def of(cls, seed: int, person: int, side: str, size: int) -> "Hand":
        phantom: Phantom = draw_hand(seed, person, side, size, bent=person % 4 == 0)
        return cls(person, side, phantom.image_HW, dict(phantom.polygons))


def mirror_label(hand: Hand, _: np.random.Generator) -> None:
    """The film was turned over after it had been labelled."""
    width = hand.image.shape[1]
    for name, polygon in hand.polygons.items():
        hand.polygons[name] = (polygon * (-1, 1) + (width - 1, 0)).astype(np.int32)


def mirror_both(hand: Hand, rng: np.random.Generator) -> None:
    """A left hand that was scanned upside down: film and label are a right hand's."""
    mirror_label(hand, rng)
    hand.image = np.ascontiguousarray(hand.image[:, ::-1])


def mirror_carpus(hand: Hand, _: np.random.Generator) -> None:
    """The carpals of the other hand: turned over about the middle metacarpal's axis."""
    centre = hand.polygons[WRIST_CENTRE].mean(axis=0)
    up = hand.polygons[MIDDLE_METACARPAL].mean(axis=0) - centre
    up /= np.linalg.norm(up)
    for name in CARPALS:
        moved = hand.polygons[name] - centre
        turned = centre + 2 * np.outer(moved @ up, up) - moved
        last = np.array(hand.image.shape[::-1]) - 1
        hand.polygons[name] = np.clip(np.rint(turned), 0, last).astype(np.int32)


def swap_carpals(hand: Hand, rng: np.random.Generator) -> None:
    """Two names exchanged."""
    one, other = rng.choice(CARPALS, 2, replace=False).tolist()
    hand.polygons[one], hand.polygons[other] = hand.polygons[other], hand.polygons[one]


def ring_in_mask(hand: Hand, rng: np.random.Generator) -> None:
    """A ring over a phalanx, and an outline that follows it."""
    name = str(rng.choice(["finger-14", "finger-10", "finger-6"]))
    polygon = hand.polygons[name]
    (x, y), extents, angle = cv2.minAreaRect(polygon)
    turn = np.deg2rad(angle if extents[0] > extents[1] else angle + 90)
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]])
    centre = np.array([x, y]) + rng.uniform(-0.1, 0.15) * max(extents) * along
    half = min(extents) * rng.uniform(0.85, 1.1)
    thick = max(3, round(0.3 * min(extents)))
    ends = [np.rint(centre + sign * half * across).astype(int).tolist() for sign in (-1, 1)]
    cv2.line(hand.image, *ends, 255, thick, cv2.LINE_AA)
    mask = np.zeros_like(hand.image)
    cv2.fillPoly(mask, [polygon], 1)
    cv2.line(mask, *ends, 1, thick)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hand.polygons[name] = max(contours, key=cv2.contourArea)[:, 0].astype(np.int32)


Fault = Callable[[Hand, np.random.Generator], None]
FAULTS: Mapping[Fault, str] = {
    mirror_label: "mirrored",
    mirror_both: "mirrored",
    mirror_carpus: "swapped",
    swap_carpals: "swapped",
    ring_in_mask: "ring",
}
"""What the audit calls each of them."""


def draw_people(seed: int, people: int, size: int) -> list[Hand]:
    """Both hands of each person, right first."""
    return [Hand.of(seed, person, side, size) for person in range(people) for side in SIDES]


def spoil(hands: list[Hand], seed: int, share: float = 0.3) -> dict[int, str]:
    """Plant one fault each into a share of the hands: number -> what the audit calls it.

    No person's two hands are turned over together with the film: two left hands would then be a
    right one's and a left one's.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(hands))[: round(share * len(hands))]
    planted, turned = {}, set()
    for turn, number in enumerate(chosen.tolist()):
        fault = list(FAULTS)[turn % len(FAULTS)]
        if fault is mirror_both and hands[number].person in turned:
            fault = mirror_label
        if fault is mirror_both:
            turned.add(hands[number].person)
        fault(hands[number], rng)
        planted[number] = FAULTS[fault]
    return planted


def as_radiograph(hand: Hand, number: int) -> Radiograph:
    height, width = hand.image.shape
    return Radiograph(
        name=f"image{number:04d}.png",
        person=f"ID{hand.person:03d}",
        image_path="",
        height=height,
        width=width,
        bytes=0,
        digest="",
        side=hand_side(hand.polygons),
        bend=wrist_bend(hand.polygons),
        polygons={BONES.index(name): polygon for name, polygon in hand.polygons.items()},
    )


def measured(hands: list[Hand]) -> tuple[list[Radiograph], list[Measures]]:
    """What the audit makes of hands without going through files."""
    images = [as_radiograph(hand, number) for number, hand in enumerate(hands)]
    measures = [
        Measures(measure_film(hand.image), "gray", measure_label(hand.image, image, BONES))
        for hand, image in zip(hands, images, strict=True)
    ]
    return images, measures
