"""The page's tools: which classes and pictures, drawn how, how near."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import streamlit as st

from handray.bones import groups_of
from handray.masks.rle import RunRows
from handray.reporting.colours import class_colours
from handray.viewing.case import Case
from handray.viewing.drawing import Look
from handray.viewing.window import Window

ALL = "all"
WHOLE = "whole image"
OUTLINE, FILL = "outline", "fill"
MOST_TIMES = 8.0
KEPT: Literal["session"] = "session"
"""How long widgets remember: also while there is nothing to show and they aren't drawn."""


def kept(key: str, first: Any) -> Any:
    """A widget's value before it is drawn, or as it was last; ``first`` at first."""
    state = st.session_state
    value = state.get(key, state.get(f"kept {key}", first))
    state[f"kept {key}"] = value
    return value


def choose_groups(class_names: Sequence[str]) -> None:
    """Toggles of all classes, and of the groups of bones among them."""
    state = st.session_state
    if state.get("known_classes") != tuple(class_names):
        state["known_classes"], state["classes"] = tuple(class_names), list(class_names)
    state["classes"] = kept("classes", class_names)
    groups: dict[str, Sequence[str]] = {ALL: class_names, **groups_of(class_names)}
    state["groups"] = _whole_groups(groups, state["classes"])
    st.pills(
        "Classes",
        list(groups),
        selection_mode="multi",
        key="groups",
        on_change=_toggle_groups,
        args=(groups,),
        wrap=True,
    )


def choose_classes(class_names: Sequence[str]) -> list[int]:
    """Toggles of single classes; the numbers of those that are shown, in their order."""
    _colour_toggles(class_names)
    names = st.pills(
        "Single classes",
        class_names,
        selection_mode="multi",
        key="classes",
        label_visibility="collapsed",
    )
    return [number for number, name in enumerate(class_names) if name in names]


def _whole_groups(groups: Mapping[str, Sequence[str]], classes: Sequence[str]) -> list[str]:
    """The groups of which every class is shown."""
    return [group for group, members in groups.items() if set(members) <= set(classes)]


def _toggle_groups(groups: Mapping[str, Sequence[str]]) -> None:
    """Follow a click on a group: show or hide its classes."""
    state = st.session_state
    classes = dict.fromkeys(state["classes"])
    before = set(_whole_groups(groups, state["classes"]))
    for group in before.symmetric_difference(state["groups"]):
        for name in groups[group]:
            if group in before:
                classes.pop(name, None)
            else:
                classes[name] = None
    state["classes"] = [name for name in groups[ALL] if name in classes]


def _colour_toggles(class_names: Sequence[str]) -> None:
    """Give each class's toggle the colour that it has in pictures."""
    rules = []
    for number, colour in enumerate(class_colours(class_names), 1):
        button = f".st-key-classes button:nth-of-type({number})"
        shown = f"color: {colour}; border-color: {colour}; background: {colour}22;"
        rules.append(f'{button}[aria-pressed="true"] {{ {shown.replace(";", " !important;")} }}')
    st.html(f"<style>{' '.join(rules)}</style>")


def choose_pictures(names: Sequence[str]) -> set[str]:
    """Toggles of the pictures that stand side by side; what is new is shown."""
    state = st.session_state
    state["pictures"] = [name for name in names if name not in state.get("hidden", set())]
    st.pills(
        "Side by side",
        names,
        selection_mode="multi",
        key="pictures",
        on_change=_hide_pictures,
        args=(names,),
        wrap=True,
    )
    return set(state["pictures"])


def _hide_pictures(names: Sequence[str]) -> None:
    state = st.session_state
    others = state.get("hidden", set()) - set(names)
    state["hidden"] = others | (set(names) - set(state["pictures"]))


def choose_look() -> Look:
    """How masks are drawn."""
    ways = [OUTLINE, FILL]
    how = st.segmented_control(
        "Draw", ways, selection_mode="multi", default=ways, key="draw", persist_state=KEPT
    )
    strength = st.slider("Strength, %", 0, 100, 35, key="strength", width=120, persist_state=KEPT)
    return Look(OUTLINE in how, FILL in how, strength / 100)


def choose_window(case: Case) -> Window:
    """Which part of the radiograph is shown."""
    groups = groups_of(case.class_names) | {name: (name,) for name in case.class_names}
    target = st.selectbox("Zoom on", [WHOLE, *groups], key="zoom_on", width=150, persist_state=KEPT)
    times = st.slider(
        "Closer",
        1.0,
        MOST_TIMES,
        1.0,
        0.5,
        format="%.1f x",
        key="closer",
        width=120,
        persist_state=KEPT,
    )
    window = Window.whole(case.picture.hw)
    if target != WHOLE:
        rows = [rows for rows in (case.truth_C, *(p.rows_C for p in case.predictions)) if rows]
        classes = [case.class_names.index(name) for name in groups[target]]
        window = Window.around(RunRows.stack([r.take(classes) for r in rows]), case.picture.hw)
    if times == 1:
        return window
    across = st.slider("Left to right, %", 0, 100, 50, key="across", width=120)
    down = st.slider("Top to bottom, %", 0, 100, 50, key="down", width=120)
    return window.closer(times, down / 100, across / 100)
