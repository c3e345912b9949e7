"""Traces of a job's steps, and faults at exact points: each of its Pythons imports this file.

HANDRAY_TEST_TRACE names a file that gets a line a step. HANDRAY_TEST_FAULTS has faults, ; between
them, each "KIND FUNCTION N": at the Nth call of a module:function in a process

  pause   it waits, once a job, until a file with its process id is gone: the trace's neighbour,
          which ends in the fault's number
  cut     the same in the middle of copying a folder
  value   no function, but a number of the module: it is N
  memory  networks that are built by it run out of memory with more than N images, in the last rank

HANDRAY_TEST_STEP_SECONDS slows steps down.
"""

import functools
import importlib
import importlib.abc
import importlib.util
import os
import sys
import time
from pathlib import Path

TRACE = Path(os.environ.get("HANDRAY_TEST_TRACE", "/dev/null"))
FAULTS = [fault.split() for fault in os.environ.get("HANDRAY_TEST_FAULTS", "").split(";") if fault]
STEP_SECONDS = float(os.environ.get("HANDRAY_TEST_STEP_SECONDS", "0"))


def traced(step):
    def tracing(state, learner, *rest):
        with TRACE.open("a") as file:
            file.write(f"{time.time()} {os.getpid()} {learner.ranks.rank} {state.steps}\n")
        time.sleep(STEP_SECONDS)
        return step(state, learner, *rest)

    return tracing


def paused(function, fault, number, before=lambda **_: None):
    calls = 0

    @functools.wraps(function)
    def pausing(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == number:
            sign = TRACE.with_suffix(f".paused{fault}")
            try:
                with sign.open("x") as file:
                    before(**named)
                    file.write(str(os.getpid()))
                while sign.exists():
                    time.sleep(0.1)
            except FileExistsError:
                pass
        return function(*arguments, **named)

    return pausing


def half(source, destination, **_) -> None:
    """What a copy leaves that ends in the middle of its largest file."""
    for file in sorted(Path(source).iterdir(), key=lambda path: path.stat().st_size):
        content = file.read_bytes()
        (Path(destination) / file.name).write_bytes(content)
    (Path(destination) / file.name).write_bytes(content[: len(content) // 2])


def small(build, fault, number):
    def building(*arguments):
        import torch

        def check(_, inputs):
            is_last = int(os.environ.get("RANK", 0)) == int(os.environ.get("WORLD_SIZE", 1)) - 1
            if is_last and len(inputs[0]) > number and torch.is_grad_enabled():
                raise torch.OutOfMemoryError(f"no room for {len(inputs[0])} images")

        model = build(*arguments)
        model.register_forward_pre_hook(check)
        return model

    return building


def value(_, fault, number):
    return number


KINDS = {
    "pause": paused,
    "cut": functools.partial(paused, before=half),
    "value": value,
    "memory": small,
}
PATCHES = {"handray.training.loop": [("_step", traced)]}
for place, (kind, function, call) in enumerate(FAULTS):
    module, _, name = function.partition(":")
    patch = functools.partial(KINDS[kind], fault=place, number=int(call))
    PATCHES.setdefault(module, []).append((name, patch))


class Patcher(importlib.abc.MetaPathFinder):
    """Finds modules as usual, and patches some of them once they are loaded."""

    def find_spec(self, name, path, target=None):
        if name not in PATCHES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            for target, patch in PATCHES[name]:
                *owners, attribute = target.split(".")
                owner = functools.reduce(getattr, owners, module)
                setattr(owner, attribute, patch(getattr(owner, attribute)))

        spec.loader.exec_module = exec_module
        return spec


if "HANDRAY_TEST_TRACE" in os.environ:
    sys.meta_path.insert(0, Patcher())
