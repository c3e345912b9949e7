"""Folds on a Ray of three nodes of this machine, two of them with GPUs that only Ray believes in.

Prints what happened as JSON. Run by test_sharing.py, in a process of its own: it needs a Ray of its
own, and ranks that only say that they are there.
"""

import asyncio
import json
import os
import tempfile
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "2"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ["RAY_TRAIN_ENABLE_PRINT_PATCH"] = "0"

import ray
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from handray.cluster.board import Board
from handray.cluster.kfold import Listener, run_folds
from handray.cluster.shares import KIND, Plan, machines, plan
from handray.config import ClusterConfig


class Roll(Board):
    """Ranks ask it first whether their fold can be trained; it notes who is there, and says no."""

    def __init__(self, at_once: int, ranks: int) -> None:
        super().__init__()
        self.all, self.here, self.most, self.ended = at_once * ranks, [], 0, []

    async def failure(self, key):
        self.here.append(key)
        self.most = max(self.most, len(self.here))
        # The first round is over once all are there that can be, the others at once.
        while self.most < self.all:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        self.here.remove(key)
        self.ended.append(key)
        return "only a test"

    async def seen(self):
        return self.most, sorted(self.ended)


def demands(address: str) -> dict:
    """What the autoscaler is asked for: bundles of groups with their counts, and all else."""
    demand = get_cluster_status(address).resource_demands
    groups = [
        [[dict(bundle.bundle), bundle.count] for bundle in group.bundles_by_count]
        for group in demand.placement_group_demand
    ]
    least = [
        [dict(bundle.bundle), bundle.count]
        for constraint in demand.cluster_constraint_demand
        for bundle in constraint.bundles_by_count
    ]
    return {"groups": groups, "others": len(demand.ray_task_actor_demand), "least": least}


def place_kinds(shares: Plan) -> dict:
    """Groups of one kind of GPU each beside each other; one more waits for its kind."""
    groups = [placement_group([shares.resources(kind)] * shares.ranks) for kind in shares.kinds]
    ready = all(group.wait(30) for group in groups)
    kind_of = {n["NodeID"]: r for n in ray.nodes() for r in n["Resources"] if r.startswith(KIND)}
    placed = [
        sorted(
            {kind_of[node] for node in placement_group_table(group)["bundles_to_node_id"].values()}
        )
        for group in groups
    ]
    another = placement_group([shares.resources("V100")] * shares.ranks)
    waited = not another.wait(2)
    remove_placement_group(groups[list(shares.kinds).index("V100")])
    followed = another.wait(30)
    for group in (*groups, another):
        remove_placement_group(group)
    return {"ready": ready, "placed": placed, "waited": waited, "followed": followed}


def train(shares: Plan, address: str) -> dict:
    """Three folds, while another job holds all CPUs at first."""
    others = placement_group([{"CPU": 2}] * 4)
    assert others.wait(60)
    roll = ray.remote(num_cpus=0)(Roll).remote(shares.at_once, shares.ranks)
    tasks = [SimpleNamespace(fold=fold, board=roll) for fold in range(3)]
    asked = {}

    def let_go() -> None:
        while len(demands(address)["groups"]) < shares.at_once:
            time.sleep(0.5)
        time.sleep(9)  # more than the four times two seconds after which a fold asks what is left
        asked.update(demands(address))
        limit = time.monotonic() + 60  # between two tries a fold asks for nothing
        while len(asked["groups"]) < shares.at_once and time.monotonic() < limit:
            time.sleep(0.1)
            asked.update(demands(address))
        asked["before"] = ray.get(roll.seen.remote())
        remove_placement_group(others)

    thread = threading.Thread(target=let_go)
    thread.start()
    silent = Listener(lambda *_: None, lambda *_: None)
    with tempfile.TemporaryDirectory() as storage:
        errors = run_folds(tasks, shares, storage, silent, False)
    thread.join()
    most, ended = ray.get(roll.seen.remote())
    return {"errors": errors, "most": most, "ended": ended, "asked": asked}


def shrink(shares: Plan) -> str:
    """What is said of a fold whose machines are gone for good."""
    roll = ray.remote(num_cpus=0)(Roll).remote(1, 1)
    silent = Listener(lambda *_: None, lambda *_: None)
    with tempfile.TemporaryDirectory() as storage:
        errors = run_folds([SimpleNamespace(fold=0, board=roll)], shares, storage, silent, False)
    assert not errors
    return ray.get(roll.read.remote()).failures[0]


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
    for kind in ("V100", "T4"):
        cluster.add_node(num_cpus=2, num_gpus=2, resources={KIND + kind: 1})
    # Ray Train's own helpers join the cluster that this names.
    os.environ["RAY_ADDRESS"] = cluster.address
    ray.init(logging_level="ERROR", log_to_driver=False)
    config = ClusterConfig(workers_per_fold=2, folds_at_once=2)
    found = sorted(machines())
    on_gpus = plan(config, 3, False, found)
    on_cpus = plan(config, 3, False, [one._replace(gpus=0) for one in found])
    report = {"kinds": place_kinds(on_gpus), "folds": train(on_cpus, cluster.address)}
    report |= {"held": on_cpus.cpus, "lost": shrink(replace(on_cpus, ranks=5))}
    print(json.dumps(report), flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
