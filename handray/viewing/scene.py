"""What the viewer's three modes show of a case: pictures, their legend, numbers of each class.

Axes: C classes; K those of them that are chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from handray.reporting.colours import BOTH, EXTRA, MISSED, SWAPPED, class_colours
from handray.viewing.case import Case, Prediction
from handray.viewing.comparing import agreement, difference, losses
from handray.viewing.drawing import MOST_LOSS, Panel, vote_colours
from handray.viewing.window import Image

Numbers = NDArray[np.float64] | NDArray[np.int64]
RADIOGRAPH, LABEL = "radiograph", "label"


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture: what it is of, how it is called, (h, w, 3) BGR."""

    of: str
    title: str
    picture: Image


@dataclass(frozen=True, eq=False)
class Scene:
    """All that a mode shows."""

    shots: Sequence[Shot] = ()
    legend: Sequence[tuple[str, str]] = ()
    """Colours "#rrggbb" and what they stand for."""
    note: str = ""
    columns: Mapping[str, Numbers] = field(default_factory=dict)
    """Name -> number of each chosen class, (K,): counts, to be summed, as int64."""


def prediction_output(case: Case, panel: Panel, chosen: Sequence[int]) -> Scene:
    """The radiograph, the label and every prediction."""
    colours = class_colours(case.class_names)
    shots = [_radiograph(panel), *_label(case, panel, chosen)]
    columns: dict[str, Numbers] = {}
    for one in case.predictions:
        title = one.name
        if case.truth_C is not None and chosen:
            dice_K = difference(one.rows_C, case.truth_C).dice_C[list(chosen)]
            columns[one.name if len(case.predictions) > 1 else "Dice"] = dice_K
            title = f"{one.name}, Dice {dice_K.mean():.3f}"
        shots.append(Shot(one.name, title, panel.overlay(one.rows_C, colours, chosen)))
    return Scene(shots, columns=columns)


def compare_loss(case: Case, panel: Panel, chosen: Sequence[int]) -> Scene:
    """Where predictions differ from the label, and what each pixel costs a network."""
    if case.truth_C is None or case.polygons is None:
        return Scene(note="This radiograph has no label to compare with; add its JSON on the left.")
    shots = [_radiograph(panel), *_label(case, panel, chosen)]
    columns: dict[str, Numbers] = {}
    for one in case.predictions:
        found = difference(one.rows_C, case.truth_C)
        differing_K = found.differing_C[list(chosen)]
        columns[_head(case, one, "Dice")] = found.dice_C[list(chosen)]
        columns[_head(case, one, "px")] = differing_K
        picture = panel.difference(one.rows_C, case.truth_C, chosen)
        title = f"{one.name}: {differing_K.sum():,} pixels differ"
        shots.append(Shot(one.name, title, picture))
        if one.logits_CHW is not None:
            cost = losses(one.logits_CHW, case.polygons, case.picture.hw, chosen)
            for name, values in cost.by_name.items():
                columns[_head(case, one, f"{name} loss")] = np.array(values)
            values_hw = panel.window.of_model_frame(cost.map_hw, case.picture.hw)
            shots.append(Shot(one.name, f"{one.name}: loss of each pixel", panel.heat(values_hw)))
    if any(one.logits_CHW is not None for one in case.predictions):
        note = (
            "Loss of a pixel: binary cross-entropy at the network's size, summed over the chosen "
            f"classes, in nats; brightest from {MOST_LOSS:g} on."
        )
    else:
        note = "A CSV holds no probabilities: a map of the loss needs a network."
    legend = [(BOTH, "both"), (MISSED, "label alone"), (EXTRA, "prediction alone")]
    legend.append((SWAPPED, "given to another class"))
    return Scene(shots, legend, note, columns)


def members_agreement(case: Case, panel: Panel, chosen: Sequence[int]) -> Scene:
    """Where predictions disagree among each other."""
    members = [one.rows_C for one in case.predictions]
    count = len(members)
    if count < 2:
        return Scene(
            note="Agreement needs two predictions or more; add CSVs, runs or networks on the left."
        )
    found = agreement(members)
    votes = Shot("", f"votes of {count} predictions", panel.votes(members, chosen))
    legend = [(c, f"{n} of {count}") for n, c in enumerate(vote_colours(count), 1)]
    return Scene(
        [_radiograph(panel), *_label(case, panel, chosen), votes],
        [*legend, (BOTH, "all")],
        "Contested pixels are those of some, but not of all predictions.",
        {
            "all / any": found.share_C[list(chosen)],
            "contested px": (found.any_C - found.all_C)[list(chosen)],
        },
    )


MODES: dict[str, Callable[[Case, Panel, Sequence[int]], Scene]] = {
    "Prediction Output": prediction_output,
    "Compare Loss": compare_loss,
    "Agreement": members_agreement,
}


def _radiograph(panel: Panel) -> Shot:
    return Shot(RADIOGRAPH, RADIOGRAPH, panel.photo)


def _label(case: Case, panel: Panel, chosen: Sequence[int]) -> list[Shot]:
    if case.truth_C is None:
        return []
    picture = panel.overlay(case.truth_C, class_colours(case.class_names), chosen)
    return [Shot(LABEL, LABEL, picture)]


def _head(case: Case, one: Prediction, what: str) -> str:
    """A column's name: with the prediction's, where there are several."""
    return f"{one.name} {what}" if len(case.predictions) > 1 else what
