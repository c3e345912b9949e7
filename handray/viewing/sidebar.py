"""The page's left side: which radiograph, and whose masks of it."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from handray.bones import BONES
from handray.cli import sentence
from handray.viewing import cached
from handray.viewing.case import Case, Prediction
from handray.viewing.networks import KINDS
from handray.viewing.results import Results, arranged, next_worst, worst_first
from handray.viewing.shelf import Shelf
from handray.viewing.uploads import (
    MOST_CSV_MB,
    MOST_IMAGE_MB,
    MOST_NETWORK_MB,
    Picture,
    Polygons,
    read_polygons,
)

FOLDER, UPLOAD = "Data folder", "Upload"
BY_NAME = "by name"
OWN = "its own"
SIZES = (OWN, "512", "1024")
GRAY, RGB = "gray", "RGB"


@dataclass(frozen=True)
class Networks:
    """Networks by name, each with what stands for it in caches, and what they are given."""

    loaded: dict[str, tuple[str, Any]]
    size: int | None
    colour: bool


@contextmanager
def told() -> Iterator[None]:
    """A mistake becomes a message on the page, which goes on without the part that failed."""
    try:
        yield
    except (ValueError, OSError) as error:
        st.error(sentence(error), icon=":material/error:")


def choose(options: argparse.Namespace) -> Case | None:
    """Draw the sidebar and return what is chosen there; None while there is no image."""
    shelf = cached.shelf(options.data) if options.data else None
    places = [st.sidebar.container() for _ in range(3)]
    with places[1]:
        results = _results(options, shelf)
    with places[2]:
        networks = _networks()
    class_names = _class_names(shelf, networks, results)
    with places[0]:
        picture, polygons = _radiograph(shelf, results, class_names)
    if picture is None:
        return None
    predictions = _predictions(picture, class_names, results, networks)
    return Case.of(picture, class_names, polygons, predictions)


def uses_colour() -> bool:
    """Whether radiographs are shown in their file's colours."""
    return bool(st.session_state.get("channels") == RGB)


def _class_names(
    shelf: Shelf | None, networks: Networks, results: Sequence[Results]
) -> tuple[str, ...]:
    if shelf:
        return shelf.folder.class_names
    for _, network in networks.loaded.values():
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
        )
    means: dict[str, float] = {}
    if order_by != BY_NAME:
        with told():
            shown = st.session_state.get("classes") or class_names
            chosen = [class_names.index(name) for name in shown if name in class_names]
            dice = cached.dice(by_name[order_by], shelf)
            means = worst_first(dice, chosen)
    order = list(means) or list(shelf.images)
    if st.session_state.get("image") not in order:
        st.session_state["image"] = order[0]

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


def _results(options: argparse.Namespace, shelf: Shelf | None) -> list[Results]:
    """The results to show."""
    st.subheader("Predictions")
    root, found = options.data, []
    for path in options.csv:
        with told():
            name = _short(path, options.csv)
            found.append(cached.results_of(name, str(path), path.stat().st_mtime, root))
    for run_id in [*options.runs, *_runs("Runs", parts=False)]:
        with told():
            found.append(cached.results_of_run(run_id, root))
    uploads = st.file_uploader(
        "CSVs", type="csv", accept_multiple_files=True, max_upload_size=MOST_CSV_MB, key="csv_files"
    )
    for upload in uploads:
        with told():
            content = upload.getvalue()
            found.append(cached.uploaded_results(upload.file_id, upload.name, content, root))
    names = list(dict.fromkeys(one.name for one in found))
    if len(names) > 1:
        names = st.multiselect("Side by side", names, default=names, key="shown")
    return [one for one in found if one.name in names]


def _runs(title: str, parts: bool) -> list[str]:
    """Ids of runs that are picked among MLflow's; it is asked only once somebody wants them."""
    if not st.toggle(f"{title} of MLflow", key=f"mlflow_{title}"):
        return []
    names: dict[str, str] = {}
    with told():
        names = cached.runs(parts)
        if not names:
            raise ValueError("MLflow has no finished run; see MLFLOW_TRACKING_URI")
    return st.multiselect(title, list(names), format_func=names.__getitem__, key=title)


def _networks() -> Networks:
    """The networks to ask, and how."""
    st.subheader("Networks")
    uploads = st.file_uploader(
        "Checkpoints or ONNX exports",
        type=list(KINDS),
        accept_multiple_files=True,
        max_upload_size=MOST_NETWORK_MB,
        key="network_files",
    )
    loaded: dict[str, tuple[str, Any]] = {}
    for upload in uploads:
        with told():
            network = cached.uploaded_network(upload.file_id, upload.name, upload.getvalue())
            loaded[upload.name] = upload.file_id, network
    for run_id in _runs("Networks", parts=True):
        with told():
            name = cached.runs(parts=True)[run_id]
            loaded[name] = run_id, cached.network_of_run(run_id)
    left, right = st.columns(2)
    with left:
        size = st.segmented_control("Size, px", SIZES, default=OWN, required=True, key="size")
    with right:
        channels = st.segmented_control(
            "Channels",
            [GRAY, RGB],
            default=GRAY,
            required=True,
            key="channels",
            help="RGB shows the file's colours, and gives them to networks of three channels",
        )
    return Networks(loaded, None if size == OWN else int(size), channels == RGB)


def _predictions(
    picture: Picture,
    class_names: Sequence[str],
    results: Sequence[Results],
    networks: Networks,
) -> list[Prediction]:
    """What is known or found out about the radiograph."""
    found = []
    for one in results:
        with told():
            known = one.masks(picture.name, picture.hw)
            if known is not None:
                found.append(Prediction(one.name, arranged(*known, class_names, one.name)))
    for name, (key, network) in networks.loaded.items():
        with told():
            picture_key = f"{picture.name} {hash(picture.content)}"
            said = cached.said(key, network, picture_key, picture, networks.size, networks.colour)
            rows = arranged(said.rows_C, said.class_names, class_names, name)
            order = [said.class_names.index(c) for c in class_names]
            logits = said.logits_CHW[order] if order != list(range(len(order))) else said.logits_CHW
            found.append(Prediction(name, rows, logits))
    return found


def _short(path: Path, others: Sequence[Path]) -> str:
    """A CSV's name for people: its folder and stem, the whole path where that names several."""
    short = ["/".join(other.absolute().with_suffix("").parts[-2:]) for other in others]
    mine = "/".join(path.absolute().with_suffix("").parts[-2:])
    return mine if short.count(mine) == 1 else str(path)
