"""The viewer's page: widgets alone; what they show is computed in scene.py and below."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from handray.reporting.colours import class_colours
from handray.viewing.case import Case
from handray.viewing.drawing import Panel, as_jpeg
from handray.viewing.scene import LABEL, MODES, RADIOGRAPH, Numbers, Shot
from handray.viewing.sidebar import choose, uses_colour
from handray.viewing.sources import told
from handray.viewing.toolbar import (
    KEPT,
    choose_classes,
    choose_groups,
    choose_look,
    choose_pictures,
    choose_window,
)

MOST_COLUMNS = 3
ROW_PX = 27
CLASS_PX = 90
"""Height of a row of numbers, width of a class's name."""
STYLE = """<style>
.stMainBlockContainer { padding: 2.4rem 2rem 1rem; max-width: none; }
.stSidebar .stVerticalBlock { gap: 0.6rem; }
[data-testid="stSidebarHeader"] { height: 2rem; margin: 0; }
.st-key-classes button, .st-key-groups button, .st-key-pictures button {
    min-height: 0; padding: 0 0.55rem; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px;
    margin: 0 .3em 0 .8em; }
</style>"""


def show(
    parse: Callable[[], argparse.Namespace], check: Callable[[argparse.Namespace], None]
) -> None:
    """Draw the page; ``parse`` reads the command line and ``check`` refuses a wrong one."""
    st.set_page_config(page_title="handray viewer", page_icon="🦴", layout="wide")
    st.html(STYLE)
    case = None
    with told():
        options = parse()
        if "checked" not in st.session_state:
            check(options)
            st.session_state["checked"] = True
        case = choose(options)
    if case is None:
        st.info("Choose a radiograph on the left, and predictions or networks to look at.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        mode = st.segmented_control(
            "Mode",
            list(MODES),
            default=next(iter(MODES)),
            required=True,
            key="mode",
            persist_state=KEPT,
        )
        look, window = choose_look(), choose_window(case)
    label = [LABEL] if case.truth_C is not None else []
    names = [RADIOGRAPH, *label, *(one.name for one in case.predictions)]
    with st.container(horizontal=True, gap="large"):
        shown = choose_pictures(names)
        choose_groups(case.class_names)
    chosen = choose_classes(case.class_names)
    case = replace(case, predictions=tuple(p for p in case.predictions if p.name in shown))
    image = case.picture.colour_HW3() if uses_colour() else case.picture.image_HW
    panel = Panel(window.photo(image), window, case.picture.hw[1], look)
    scene = MODES[mode](case, panel, chosen)
    wide = 1 + 0.35 * min(4, max(0, len(scene.columns) - 1))
    pictures, numbers = (
        st.columns([5, wide], gap="medium") if scene.columns else [st.container()] * 2
    )
    with pictures:
        _gallery([shot for shot in scene.shots if not shot.of or shot.of in shown])
        if scene.legend:
            _legend(scene.legend)
        if scene.note:
            (st.caption if scene.shots else st.info)(scene.note)
    with numbers:
        if scene.columns and chosen:
            _numbers(case, chosen, scene.columns)


def _gallery(shots: Sequence[Shot]) -> None:
    """Pictures with their titles, a few a row."""
    columns = max(1, min(MOST_COLUMNS, len(shots)))
    for first in range(0, len(shots), columns):
        row = shots[first : first + columns]
        for place, shot in zip(st.columns(columns), row, strict=False):
            place.caption(shot.title)
            place.image(as_jpeg(shot.picture), width="stretch", alt=shot.title)


def _legend(entries: Sequence[tuple[str, str]]) -> None:
    parts = [f"<span class='swatch' style='background:{c}'></span>{text}" for c, text in entries]
    st.html(" ".join(parts))


def _numbers(case: Case, chosen: Sequence[int], columns: Mapping[str, Numbers]) -> None:
    """A table with a row for each class that is shown, and one for all of them."""
    table = pd.DataFrame({"class": [case.class_names[c] for c in chosen], **columns})
    counts = {name for name, values in columns.items() if np.issubdtype(values.dtype, np.integer)}
    sums = {n: values.sum() if n in counts else values.mean() for n, values in columns.items()}
    table = pd.concat([pd.DataFrame([{"class": "all", **sums}]), table], ignore_index=True)
    every = class_colours(case.class_names)
    colours = ["color: #ffffff", *(f"color: {every[c]}" for c in chosen)]
    styled = table.style.apply(lambda _: colours, subset=["class"]).format(
        {name: "{:,.0f}" if name in counts else "{:.3f}" for name in columns}
    )
    height = ROW_PX * len(table) + 40
    st.dataframe(
        styled,
        hide_index=True,
        row_height=ROW_PX,
        height=height,
        width="stretch",
        column_config={"class": st.column_config.TextColumn(width=CLASS_PX)},
    )
