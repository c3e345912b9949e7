"""K folds by person: nobody's hands are on two sides, and bent wrists are spread evenly.

Bent wrists are a tenth of the training set but more than half of the test set, so a fold that has
none of them flatters the model.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handray.data.pose import is_bent
from handray.data.radiographs import Radiograph


def assign_folds(radiographs: Sequence[Radiograph], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold that holds out each radiograph, int64 0 .. folds - 1, in the order given.

    With one fold nothing is held out: -1 for all.

    A person is in one fold. People with bent wrists are dealt first, each to the fold with the
    fewest bent images, then the others, each to the fold with the fewest images; chance, by the
    seed, decides among equals. A person's fold depends on the set of radiographs and the seed, not
    on their order. Raises ValueError where folds is below 1 or above the number of people.
    """
    images = Counter(radiograph.person for radiograph in radiographs)
    bent = Counter(radiograph.person for radiograph in radiographs if is_bent(radiograph.bend))
    if folds < 1:
        raise ValueError(f"--folds must be at least 1, got {folds}")
    if folds == 1:
        return np.full(len(radiographs), -1, np.int64)
    if len(images) < 2:
        raise ValueError(
            f"folds are made of people, and there are only {len(images)} with usable images; "
            "put each person's images into a folder of their own under train/DCM"
        )
    if folds > len(images):
        raise ValueError(
            f"--folds is {folds}, but there are only {len(images)} people and a person stays in "
            f"one fold; take at most {len(images)} or add people"
        )
    shuffled = np.random.default_rng(seed).permutation(sorted(images)).tolist()
    # Many images first: the small ones even out what the large ones leave (the sort is stable).
    people = sorted(shuffled, key=lambda person: (-bent[person], -images[person]))
    loads = [(0, 0)] * folds
    fold_of: dict[str, int] = {}
    for person in people:
        by_bent, by_images = [load[0] for load in loads], [load[1] for load in loads]
        scores = loads if bent[person] else list(zip(by_images, by_bent, strict=True))
        fold = scores.index(min(scores))
        loads[fold] = by_bent[fold] + bent[person], by_images[fold] + images[person]
        fold_of[person] = fold
    return np.array([fold_of[radiograph.person] for radiograph in radiographs], np.int64)


def fold_table(radiographs: Sequence[Radiograph], folds: NDArray[np.int64]) -> pd.DataFrame:
    """One row a radiograph: image_name, person, side, bend (degrees, 1 decimal), fold."""
    return pd.DataFrame(
        {
            "image_name": [radiograph.name for radiograph in radiographs],
            "person": [radiograph.person for radiograph in radiographs],
            "side": [radiograph.side for radiograph in radiographs],
            "bend": [round(radiograph.bend, 1) for radiograph in radiographs],
            "fold": folds,
        }
    )
