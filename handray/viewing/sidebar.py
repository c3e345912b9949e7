"""The page's left side: which radiograph, and whose masks of it."""

import argparse
from collections.abc import Sequence

import streamlit as st

from handray.bones import BONES
from handray.viewing import cached
from handray.viewing.case import Case
from handray.viewing.results import Results, next_worst, worst_first
from handray.viewing.shelf import Shelf
from handray.viewing.sources import (
    RGB,
    Networks,
    choose_networks,
    choose_results,
    predictions_of,
    told,
)
from handray.viewing.toolbar import KEPT, kept
from handray.viewing.uploads import MOST_IMAGE_MB, Picture, Polygons, read_polygons

FOLDER, UPLOAD = "Data folder", "Upload"
BY_NAME = "by name"


def choose(options: argparse.Namespace) -> Case | None:
    """Draw the sidebar and return what is chosen there; None while there is no image."""
    shelf = cached.shelf(options.data) if options.data else None
    places = [st.sidebar.container() for _ in range(3)]
    with places[1]:
        results = choose_results(options)
    with places[2]:
        networks = choose_networks()
    class_names = _class_names(shelf, networks, results)
    with places[0]:
        picture, polygons = _radiograph(shelf, results, class_names)
    if picture is None:
        return None
    predictions = predictions_of(picture, class_names, results, networks)
    return Case.of(picture, class_names, polygons, predictions)


def uses_colour() -> bool:
    """Whether radiographs are shown in their file's colours."""
    return bool(st.session_state.get("channels") == RGB)


def _class_names(
    shelf: Shelf | None, networks: Networks, results: Sequence[Results]
) -> tuple[str, ...]:
    if shelf:
        return shelf.folder.class_names
    for _, _, network in networks.loaded:
        return tuple(network.class_names)
    return results[0].parts[0].class_names if results else BONES


def _radiograph(
    shelf: Shelf | None, results: Sequence[Results], class_names: Sequence[str]
) -> tuple[Picture | None, Polygons | None]:
    st.subheader("Radiograph")
    if shelf:
        ways = [FOLDER, UPLOAD]
        way = st.segmented_control("From", ways, default=FOLDER, required=True, key="from")
        if way == FOLDER:
            name = _pick(shelf, results, class_names)
            with told():
                return cached.picture(shelf.folder.root, name), shelf.polygons(name)
            return None, None
    return _uploaded(class_names)


def _pick(shelf: Shelf, results: Sequence[Results], class_names: Sequence[str]) -> str:
    """An image of the folder's, by name or from the worst on."""
    labelled = [one for one in results if one.has_labels(shelf.labels)]
    by_name = {one.name: one for one in labelled}
    order_by = BY_NAME
    if labelled:
        order_by = st.selectbox(
            "Order",
            [BY_NAME, *by_name],
            format_func=lambda name: name if name == BY_NAME else f"worst first by {name}",
            key="order",
            persist_state=KEPT,
            on_change=_start_over,
        )
    means: dict[str, float] = {}
    if order_by != BY_NAME:
        with told():
            shown = kept("classes", class_names) or class_names
            chosen = [class_names.index(name) for name in shown if name in class_names]
            dice = cached.dice(by_name[order_by].parts, shelf)
            means = worst_first(dice, chosen)
    order = list(means) or list(shelf.images)
    wanted = kept("image", order[0])
    st.session_state["image"] = wanted if wanted in order else order[0]

    def titled(name: str) -> str:
        return f"{means[name]:.3f}   {name}" if name in means else name

    name = st.selectbox("Image", order, format_func=titled, key="image")
    left, right = st.columns(2)
    left.button("Previous", on_click=_go, args=(order, -1), width="stretch")
    right.button(
        "Next worst" if means else "Next", on_click=_go, args=(order, 1), width="stretch",
        type="primary" if means else "secondary",
    )  # fmt: skip
    if shelf.folder.faults:
        count = len({fault.path for fault in shelf.folder.faults})
        st.caption(f"{count} faulty files are left out, such as {shelf.folder.faults[0].path}")
    return name


def _start_over() -> None:
    """Begin another order with its first image."""
    for key in ("image", "kept image"):
        st.session_state.pop(key, None)


def _go(order: Sequence[str], step: int) -> None:
    st.session_state["image"] = next_worst(order, st.session_state["image"], step)


def _uploaded(class_names: Sequence[str]) -> tuple[Picture | None, Polygons | None]:
    image = st.file_uploader(
        "Image", type=["png", "jpg", "jpeg"], max_upload_size=MOST_IMAGE_MB, key="image_file"
    )
    label = st.file_uploader(
        "Label (JSON of polygons)", type="json", max_upload_size=MOST_IMAGE_MB, key="label_file"
    )
    picture, polygons = None, None
    if image:
        with told():
            picture = cached.uploaded_picture(image.file_id, image.name, image.getvalue())
    if label and picture:
        with told():
            polygons = read_polygons(label.getvalue(), label.name, picture, class_names)
    return picture, polygons
