from itertools import combinations, pairwise

import numpy as np
import pytest

from handray.bones import BONES, CARPALS
from handray.data.hands.anatomy import CHAINS
from handray.reporting.colours import bgr, class_colours

# Machado, Oliveira, Fernandes (2009), full deuteranopia and protanopia, linear RGB.
BLINDNESS = {
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}


def seen(colour: str, blindness: str) -> np.ndarray:
    linear = (np.array(bgr(colour)[::-1]) / 255) ** 2.2
    return np.clip(BLINDNESS[blindness] @ linear, 0, 1) ** (1 / 2.2)


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_bones_that_touch_look_different_to_the_colour_blind(blindness):
    colour = dict(zip(BONES, class_colours(BONES), strict=True))
    pairs = [*combinations(CARPALS, 2), ("Radius", "Ulna")]
    pairs += [pair for chain in CHAINS.values() for pair in pairwise(chain)]
    for one, other in pairs:
        apart = np.linalg.norm(seen(colour[one], blindness) - seen(colour[other], blindness))
        assert apart > 0.1, f"{one} and {other} look alike"


def test_a_bone_keeps_its_colour_in_any_list_of_classes():
    assert class_colours(["Ulna", "tooth"])[0] == class_colours(BONES)[BONES.index("Ulna")]


def test_the_colours_of_two_dozen_other_classes_differ():
    assert len(set(class_colours([str(number) for number in range(24)]))) == 24
