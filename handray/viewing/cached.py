"""What the page computes once and keeps: files, networks, masks, ranks."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from handray.inference.submission import SizeOf, Submission
from handray.viewing.networks import Said, ask, open_network
from handray.viewing.results import Results, read_results, read_upload
from handray.viewing.shelf import Shelf
from handray.viewing.uploads import Picture, read_picture


@st.cache_resource(show_spinner="Reading the data folder ...", max_entries=2)
def shelf(root: str) -> Shelf:
    """A data folder."""
    return Shelf.of(root)


def size_of(root: str | None) -> SizeOf | None:
    """Looks up sizes in a data folder; None without one."""
    return shelf(root).size_of if root else None


@st.cache_resource(show_spinner=False, max_entries=8)
def picture(root: str, image: str) -> Picture:
    """An image of a data folder."""
    return shelf(root).picture(image)


@st.cache_resource(show_spinner=False, max_entries=4, scope="session")
def uploaded_picture(file_id: str, name: str, _content: bytes) -> Picture:
    """An image that was uploaded."""
    return read_picture(_content, name)


@st.cache_resource(show_spinner="Reading a CSV ...", max_entries=32)
def results_of(name: str, path: str, changed: float, root: str | None) -> Results:
    """The masks of a CSV; ``changed`` is when, so that a new version is read anew."""
    return read_results(name, [Path(path)], size_of(root))


@st.cache_resource(show_spinner="Reading a CSV ...", max_entries=8, scope="session")
def uploaded_results(file_id: str, name: str, _content: bytes, root: str | None) -> Results:
    """The masks of an uploaded CSV."""
    return read_upload(_content, name, size_of(root))


@st.cache_resource(show_spinner="Fetching a run ...", max_entries=32)
def results_of_run(run_id: str, root: str | None) -> Results:
    """The masks that a run left."""
    from handray.reporting.tracking.fetch import download_results, run_name

    with TemporaryDirectory(prefix="handray-") as folder:
        paths = download_results(run_id, Path(folder))
        return read_results(run_name(run_id), paths, size_of(root))


@st.cache_data(show_spinner="Asking MLflow ...", ttl=60)
def runs(parts: bool) -> dict[str, str]:
    """Names of the finished runs by id, of folds or of whole jobs."""
    from handray.reporting.tracking.fetch import finished_runs

    return finished_runs(parts)


@lru_cache(maxsize=32)
def dice(parts: tuple[Submission, ...], its_shelf: Shelf) -> dict[str, NDArray[np.float64]]:
    """Dice of each labelled image and class, of the parts of results of whatever name."""
    with st.spinner("Ranking by Dice ..."):
        return Results("", parts).dice(its_shelf.labels)


@st.cache_resource(show_spinner="Loading the network ...", max_entries=16, scope="session")
def uploaded_network(file_id: str, name: str, _content: bytes) -> Any:
    """A network that was uploaded."""
    return open_network(_content, name)


@st.cache_resource(show_spinner="Fetching the network ...", max_entries=16)
def network_of_run(run_id: str) -> Any:
    """The best network of a fold's run."""
    from handray.reporting.tracking.fetch import download_checkpoint

    with TemporaryDirectory(prefix="handray-") as folder:
        return open_network(download_checkpoint(run_id, Path(folder)).read_bytes(), "best.pt")


@st.cache_resource(show_spinner="Predicting ...", max_entries=8, scope="session")
def said(
    key: str, _network: Any, image: str, _picture: Picture, size: int | None, colour: bool
) -> Said:
    """What a network says; ``key`` stands for it, ``image`` for the picture."""
    return ask(_network, _picture, size, colour)
