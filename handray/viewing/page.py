"""The viewer's page. Widgets alone: what they show is computed in the modules beside this one."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from handray.masks.rle import RunRows
from handray.reporting.colours import class_colours
from handray.viewing.case import Case, Prediction
from handray.viewing.comparing import Losses, agreement, difference, losses
from handray.viewing.drawing import (
    BOTH,
    EXTRA,
    MISSED,
    MOST_LOSS,
    Panel,
    as_jpeg,
    vote_colours,
)
from handray.viewing.sidebar import choose, told, uses_colour
from handray.viewing.toolbar import choose_classes, choose_look, choose_window
from handray.viewing.window import Image

PREDICTION, LOSS, AGREEMENT = "Prediction Output", "Compare Loss", "Agreement"
MOST_COLUMNS = 3
ROW_PX = 27
STYLE = """<style>
.stMainBlockContainer { padding: 2.6rem 2rem 1rem; max-width: none; }
.stSidebar .stVerticalBlock { gap: 0.6rem; }
.st-key-classes button, .st-key-groups button { min-height: 0; padding: 0 0.5rem; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .3em; }
</style>"""


def show(
    parse: Callable[[], argparse.Namespace], check: Callable[[argparse.Namespace], None]
) -> None:
    """Draw the page; ``parse`` reads the command line and ``check`` refuses a wrong one."""
    st.set_page_config(page_title="handray viewer", page_icon=":material/radiology:", layout="wide")
    st.html(STYLE)
    case = None
    with told():
        options = parse()
        check(options)
        case = choose(options)
    if case is None:
        st.info("Choose a radiograph on the left, and predictions or networks to look at.")
        return
    modes = [PREDICTION, LOSS, AGREEMENT]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="tools"):
        mode = st.segmented_control("Mode", modes, default=PREDICTION, required=True, key="mode")
        look, window = choose_look(), choose_window(case)
    chosen = choose_classes(case.class_names)
    image = case.picture.colour_HW3() if uses_colour() else case.picture.image_HW
    panel = Panel(window.photo(image), window, case.picture.hw[1], look)
    pictures, numbers = st.columns([4, 1.25], gap="medium")
    with pictures:
        {PREDICTION: _predictions, LOSS: _losses, AGREEMENT: _agreement}[mode](case, panel, chosen)
    with numbers:
        _numbers(case, chosen, mode)


def _predictions(case: Case, panel: Panel, chosen: Sequence[int]) -> None:
    """The radiograph, the label and every prediction side by side."""
    colours = class_colours(case.class_names)
    shown = [(case.picture.name, panel.photo)]
    if case.truth_C is not None:
        shown.append(("label", panel.overlay(case.truth_C, colours, chosen)))
    for one in case.predictions:
        title = one.name
        if case.truth_C is not None and chosen:
            dice_C = difference(one.rows_C, case.truth_C).dice_C
            title = f"{one.name}, Dice {dice_C[list(chosen)].mean():.3f}"
        shown.append((title, panel.overlay(one.rows_C, colours, chosen)))
    _gallery(shown)


def _losses(case: Case, panel: Panel, chosen: Sequence[int]) -> None:
    """Where predictions differ from the label, and what each pixel costs a network."""
    if case.truth_C is None or case.polygons is None:
        st.info("This radiograph has no label to compare with; add its JSON on the left.")
        return
    colours = class_colours(case.class_names)
    shown = [("label", panel.overlay(case.truth_C, colours, chosen))]
    for one in case.predictions:
        found = difference(one.rows_C, case.truth_C)
        pixels = int(found.differing_C[list(chosen)].sum())
        picture = panel.difference(one.rows_C, case.truth_C, chosen)
        shown.append((f"{one.name}: {pixels:,} pixels differ", picture))
        if one.logits_CHW is not None:
            values = panel.window.of_model_frame(
                _losses_of(case, one, chosen).map_hw, case.picture.hw
            )
            shown.append((f"{one.name}: loss of each pixel", panel.heat(values)))
    _gallery(shown)
    _legend([(BOTH, "both"), (MISSED, "label alone"), (EXTRA, "prediction alone")])
    if any(one.logits_CHW is not None for one in case.predictions):
        st.caption(
            "Loss: binary cross-entropy at the network's size, summed over the chosen classes; "
            f"brightest from {MOST_LOSS:g} on."
        )
    else:
        st.caption("A CSV holds no probabilities: a map of the loss needs a network.")


def _agreement(case: Case, panel: Panel, chosen: Sequence[int]) -> None:
    """Where the predictions disagree among each other."""
    members = [one.rows_C for one in case.predictions]
    if len(members) < 2:
        st.info("Agreement needs two predictions or more; add CSVs, runs or networks on the left.")
        return
    colours = class_colours(case.class_names)
    shown = [
        (case.picture.name, panel.photo),
        (f"votes of {len(members)} members", panel.votes(members, chosen)),
    ]
    if case.truth_C is not None:
        shown.append(("label", panel.overlay(case.truth_C, colours, chosen)))
    _gallery(shown)
    told_votes = [
        (colour, f"{votes} of {len(members)}")
        for votes, colour in enumerate(vote_colours(len(members)), 1)
    ]
    _legend([*told_votes, (BOTH, "all")])


def _gallery(shown: Sequence[tuple[str, Image]]) -> None:
    """Pictures with their titles, a few a row."""
    columns = min(MOST_COLUMNS, len(shown))
    for first in range(0, len(shown), columns):
        row = shown[first : first + columns]
        for place, (title, picture) in zip(st.columns(columns), row, strict=False):
            place.caption(title)
            place.image(as_jpeg(picture), width="stretch")


def _legend(entries: Sequence[tuple[str, str]]) -> None:
    st.html(
        " ".join(
            f"<span class='swatch' style='background:{colour}'></span>{text}"
            for colour, text in entries
        )
    )


def _numbers(case: Case, chosen: Sequence[int], mode: str) -> None:
    """A table with a row for each class that is shown."""
    columns: dict[str, Any] = {}
    if mode == AGREEMENT and len(case.predictions) > 1:
        found = agreement([one.rows_C for one in case.predictions])
        columns["all / any"] = found.share_C[list(chosen)]
        columns["contested px"] = (found.any_C - found.all_C)[list(chosen)]
    elif case.truth_C is not None:
        for one in case.predictions:
            columns |= _columns(case, one, case.truth_C, chosen, mode)
    if not columns or not chosen:
        return
    names = [case.class_names[c] for c in chosen]
    table = pd.DataFrame({"class": names, **columns})
    means = {name: np.mean(values) for name, values in columns.items()}
    totals = {
        name: np.sum(v) if name.endswith("px") else means[name] for name, v in columns.items()
    }
    table.loc[len(table)] = {"class": "all", **totals}
    colours = [*(class_colours(case.class_names)[c] for c in chosen), "#ffffff"]
    styled = table.style.apply(
        lambda column: [f"color: {colour}" for colour in colours], subset=["class"]
    ).format({name: "{:,.0f}" if name.endswith("px") else "{:.3f}" for name in columns})
    st.dataframe(
        styled,
        hide_index=True,
        row_height=ROW_PX,
        height=ROW_PX * (len(table) + 1) + 16,
        width="stretch",
    )


def _columns(
    case: Case, one: Prediction, truth_C: RunRows, chosen: Sequence[int], mode: str
) -> dict[str, Any]:
    """Numbers of one prediction; its name is in the heads where there are several."""
    found = difference(one.rows_C, truth_C)
    tail = f" {one.name}" if len(case.predictions) > 1 else ""
    columns: dict[str, Any] = {f"Dice{tail}": found.dice_C[list(chosen)]}
    if mode == LOSS:
        columns[f"{one.name} px".lstrip() if tail else "px"] = found.differing_C[list(chosen)]
        if one.logits_CHW is not None:
            by_name = _losses_of(case, one, chosen).by_name
            columns |= {f"{name} loss{tail}": values for name, values in by_name.items()}
    return columns


def _losses_of(case: Case, one: Prediction, chosen: Sequence[int]) -> Losses:
    assert one.logits_CHW is not None and case.polygons is not None
    return losses(one.logits_CHW, case.polygons, case.picture.hw, chosen)
