"""One Ray for the whole test run, phantoms drawn once, and the folder of real radiographs."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


@pytest.fixture(scope="session")
def one_ray():
    """Ray on this machine, quiet; shared by all tests that need one in their own process."""
    import ray

    from handray.cluster.runtime import start_ray

    start_ray(verbose=False)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """Seven people to train on, one to test on, at 128 px; 13 images, since one lost its left."""
    from handray.data.phantom_folder import draw_folder

    folder = tmp_path_factory.mktemp("phantoms") / "hands"
    draw_folder(folder, 7, 1, 128, 3)
    for part in ("DCM", "outputs_json"):
        sorted((folder / "train" / part / "ID007").iterdir())[-1].unlink()
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of HANDRAY_REAL_DATA; tests that need it skip without."""
    folder = os.environ.get("HANDRAY_REAL_DATA")
    if not folder:
        pytest.skip("HANDRAY_REAL_DATA names no folder of real radiographs")
    return Path(folder)


@pytest.fixture(scope="session")
def load_job():
    """Loads a job as a module: most of what it does needs no process of its own."""

    def load(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"{path.stem}_job", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def untrained():
    """Writes a checkpoint of a network that has learnt nothing, but sees something."""
    import torch

    from handray.models.zoo import Design, build_network
    from handray.training.state import save_network

    def write(path: Path, names, seed: int = 0, size: int = 64) -> Path:
        torch.manual_seed(seed)
        model = build_network(Design("hrnet_small"), len(names))
        model.classify.bias.data.zero_()
        about = {
            "config": {"model": {"model": "hrnet_small"}, "train": {"precision": "fp32"}},
            "class_names": tuple(names),
            "mean": 128.0,
            "std": 74.0,
            "size": size,
        }
        save_network(path, model, about)
        return path

    return write
