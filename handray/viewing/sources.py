"""Whose masks the page shows: CSVs, runs, and networks that are asked."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from handray.cli import sentence
from handray.viewing import cached
from handray.viewing.case import Prediction, with_own_names
from handray.viewing.networks import KINDS
from handray.viewing.results import Results, arranged
from handray.viewing.uploads import MOST_CSV_MB, MOST_NETWORK_MB, Picture

OWN = "its own"
SIZES = (OWN, "512", "1024")
GRAY, RGB = "gray", "RGB"


@dataclass(frozen=True)
class Networks:
    """Networks, each with its name and what stands for it in caches, and what they are given."""

    loaded: list[tuple[str, str, Any]]
    size: int | None
    colour: bool


@contextmanager
def told() -> Iterator[None]:
    """A mistake becomes a message on the page, which goes on without the part that failed."""
    try:
        yield
    except (ValueError, OSError) as error:
        st.error(sentence(error), icon=":material/error:")


def choose_results(options: argparse.Namespace) -> list[Results]:
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
    return with_own_names(found)


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


def choose_networks() -> Networks:
    """The networks to ask, and how."""
    st.subheader("Networks")
    uploads = st.file_uploader(
        "Checkpoints or ONNX exports",
        type=list(KINDS),
        accept_multiple_files=True,
        max_upload_size=MOST_NETWORK_MB,
        key="network_files",
    )
    loaded: list[tuple[str, str, Any]] = []
    for upload in uploads:
        with told():
            network = cached.uploaded_network(upload.file_id, upload.name, upload.getvalue())
            loaded.append((upload.name, upload.file_id, network))
    for run_id in _runs("Networks", parts=True):
        with told():
            name = cached.runs(parts=True)[run_id]
            loaded.append((name, run_id, cached.network_of_run(run_id)))
    size = st.segmented_control("Size, px", SIZES, default=OWN, required=True, key="size")
    channels = st.segmented_control(
        "Channels",
        [GRAY, RGB],
        default=GRAY,
        required=True,
        key="channels",
        help="RGB shows the file's colours, and gives them to networks of three channels",
    )
    return Networks(loaded, None if size == OWN else int(size), channels == RGB)


def predictions_of(
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
    for name, key, network in networks.loaded:
        with told():
            picture_key = f"{picture.name} {hash(picture.content)}"
            said = cached.said(key, network, picture_key, picture, networks.size, networks.colour)
            rows = arranged(said.rows_C, said.class_names, class_names, name)
            order = [said.class_names.index(c) for c in class_names]
            logits = said.logits_CHW[order] if order != list(range(len(order))) else said.logits_CHW
            found.append(Prediction(name, rows, logits))
    return with_own_names(found)


def _short(path: Path, others: Sequence[Path]) -> str:
    """A CSV's name for people: its folder and stem, the whole path where that names several."""
    short = ["/".join(other.absolute().with_suffix("").parts[-2:]) for other in others]
    mine = "/".join(path.absolute().with_suffix("").parts[-2:])
    return mine if short.count(mine) == 1 else str(path)
