"""The nodes of the cluster, and what they answer when all are asked at once."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

PATIENCE = 60.0
"""Seconds that a node has to answer; a worker's first start takes a few."""


@dataclass(frozen=True)
class Node:
    """A node that is alive."""

    id: str
    address: str
    name: str
    """The address, for people; with a part of the id where nodes share it."""
    gpus: int
    """As Ray counts them."""
    store_bytes: int
    """Size of its object store."""


def alive() -> list[Node]:
    """All nodes that are alive."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    addresses = [node["NodeManagerAddress"] for node in nodes]
    return [
        Node(
            id=node["NodeID"],
            address=address,
            name=address if addresses.count(address) == 1 else f"{address}/{node['NodeID'][:6]}",
            gpus=int(node["Resources"].get("GPU", 0)),
            store_bytes=int(node["Resources"].get("object_store_memory", 0)),
        )
        for node, address in zip(nodes, addresses, strict=True)
    ]


@dataclass(frozen=True)
class Question:
    """A call of a function on one node."""

    node: Node
    arguments: tuple[Any, ...] = ()
    gpus: int = 0
    """GPUs that it holds; it waits for them."""


def ask(
    function: Callable[..., Any], questions: Sequence[Question], seconds: float = PATIENCE
) -> list[Any]:
    """Call a function on nodes, all at once, holding no CPU.

    Args:
        function: of a module that the nodes can import.
        questions: where, and with what.
        seconds: that all of them have together.

    Returns:
        For each question what the function returned, or the exception that it raised;
        a TimeoutError where no answer came.

    """
    task = ray.remote(num_cpus=0, max_retries=0)(function)
    refs = [
        task.options(
            num_gpus=question.gpus,
            scheduling_strategy=NodeAffinitySchedulingStrategy(question.node.id, soft=False),
        ).remote(*question.arguments)
        for question in questions
    ]
    ray.wait(refs, num_returns=len(refs), timeout=seconds)
    return [_answer(ref, seconds) for ref in refs]


def reason(error: Exception) -> str:
    """An answer's error in a sentence; Ray's own come with the traceback of another process."""
    missing = re.search(r"No module named '[\w.]+'", str(error))
    if missing:
        return missing.group()
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _answer(ref: Any, seconds: float) -> Any:
    try:
        return ray.get(ref, timeout=0)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(ref, force=True)
        return TimeoutError(f"no answer within {seconds:g} s")
    except ray.exceptions.RayTaskError as error:
        return error.cause
    except ray.exceptions.RayError as error:
        return error
