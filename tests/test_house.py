"""The floors of the house: imports point down, and each third party stays in its room."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]

FLOORS = {
    "handray.bones": 1,
    "handray.cli": 1,
    "handray.policies": 1,
    "handray.whole_files": 1,
    "handray.masks": 1,
    "handray.models": 1,
    "handray.config": 2,
    "handray.recipes": 3,
    "handray.flags": 4,
    "handray.search_space": 3,
    "handray.training": 3,
    "handray.data": 3,
    "handray.inference": 4,
    "handray.reporting": 5,
    "handray.viewing": 6,
    "handray.preparation": 6,
    "handray.cluster": 7,
    "jobs": 8,
}

ROOMS = {
    "ray": ("handray/data/stream.py", "handray/cluster/"),
    "mlflow": ("handray/reporting/tracking/",),
    "albumentations": ("handray/data/augment.py", "handray/data/warp.py"),
    "timm": ("handray/models/",),
    "segmentation_models_pytorch": ("handray/models/",),
    "torchvision": ("handray/models/",),
    "onnx": ("handray/inference/onnx_export.py",),
    "onnxruntime": ("handray/inference/onnx_export.py", "handray/inference/onnx_network.py"),
    "optuna": ("handray/cluster/search.py",),
    "adamp": ("handray/training/optim.py",),
    "jinja2": ("handray/reporting/page.py",),
    "streamlit": (
        "jobs/viewer.py",
        *(
            f"handray/viewing/{part}.py"
            for part in ("cached", "page", "sidebar", "sources", "toolbar")
        ),
    ),
}


def modules() -> list[Path]:
    return [*sorted((TOP / "handray").rglob("*.py")), *sorted((TOP / "jobs").glob("*.py"))]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def room(module: str) -> str | None:
    names = [name for name in FLOORS if module == name or module.startswith(name + ".")]
    return names[0] if names else None


def own_room(path: Path) -> str | None:
    return room(".".join(path.relative_to(TOP).with_suffix("").parts))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(TOP)))
def test_imports_point_down_or_stay_in_the_room(path):
    own = own_room(path)
    if own is None:
        assert path.name == "__init__.py", f"{path} is in no room of FLOORS; give it one"
        return
    for module in imports(path):
        other = room(module)
        if other is None or other == own:
            continue
        assert FLOORS[other] < FLOORS[own], (
            f"{path.relative_to(TOP)} may not import {module}: {own} is on floor {FLOORS[own]}, "
            f"{other} on floor {FLOORS[other]}"
        )


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(TOP)))
def test_third_parties_stay_in_their_rooms(path):
    name = path.relative_to(TOP).as_posix()
    for module in imports(path):
        rooms = ROOMS.get(module.split(".")[0])
        if rooms is not None:
            assert name.startswith(rooms), f"{name} may not import {module}: that is for {rooms}"


def test_every_class_count_comes_from_the_data():
    for path in modules():
        numbers = [
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and type(node.value) is int
        ]
        assert 29 not in numbers, f"{path} says how many classes there are; bones.py knows"
