"""How folds share the machines: what each of their ranks holds, and how many run side by side.

A fold takes what all its ranks hold at once or nothing, and holds it until it ends; it needs
nothing more that another job could hold. So whoever waits gets on as soon as others end.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import ray

from handray.config import ClusterConfig

FEED_CPUS = 4
"""Most threads that augment a rank's images."""
KIND = "accelerator_type:"
"""Ray's resource of a node with a kind of GPU is this and the kind's name."""


class Machine(NamedTuple):
    """What a node has."""

    cpus: int
    gpus: int = 0
    kind: str = ""
    """Of its GPUs, such as ``V100``; empty where Ray doesn't know it."""


@dataclass(frozen=True)
class Plan:
    """How folds share the machines."""

    at_once: int
    """Folds that train side by side."""
    ranks: int
    """Ranks of each fold."""
    cpus: float
    """Ray's CPUs that a rank holds; a share of one where there are too few to hold."""
    threads: int
    """Threads that a rank computes with."""
    use_gpu: bool
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Folds that fit each kind of GPU, where that is to be told apart: a fold's ranks wait for each
    other at every step, and a slow one would hold fast ones back."""
    elastic: int = 0
    """Fewest ranks that a fold goes on with; 0: all of them."""

    @property
    def device(self) -> str:
        """What each rank computes on, for people."""
        return "one GPU" if self.use_gpu else f"{self.threads} CPU thread(s)"

    def resources(self, kind: str = "") -> dict[str, float]:
        """What Ray reserves for a rank, on GPUs of a kind where it is given."""
        held = {"CPU": self.cpus, **({"GPU": 1} if self.use_gpu else {})}
        return held | ({KIND + kind: 0.001} if kind else {})

    def fits(self, machines: Sequence[Machine], kind: str = "") -> bool:
        """Whether machines that nobody else used would hold all ranks of a fold."""
        places = 0
        for machine in machines:
            by_cpus = int(machine.cpus / self.cpus) if self.cpus else self.ranks
            if kind in ("", machine.kind):
                places += min(by_cpus, machine.gpus) if self.use_gpu else by_cpus
        return places >= (self.elastic or self.ranks)


def machines() -> list[Machine]:
    """What each node of the cluster has."""
    found = []
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            kinds = sorted(name.removeprefix(KIND) for name in has if name.startswith(KIND))
            kind = kinds[0] if kinds else ""
            found.append(Machine(int(has.get("CPU", 0)), int(has.get("GPU", 0)), kind))
    return found


def working(machines: Sequence[Machine]) -> list[Machine]:
    """Those that take work; raises ValueError for none, as where they are rented when asked."""
    found = [machine for machine in machines if machine.cpus]
    if not found:
        raise ValueError(
            "the cluster has no machine that works, only its head; ask for some first, as "
            "README.md says under 'Rented GPUs'"
        )
    return found


def plan(config: ClusterConfig, folds: int, streamed: bool, machines: Sequence[Machine]) -> Plan:
    """Share the machines out: one rank a GPU, or all CPUs to the folds that run at once.

    Args:
        config: ranks a fold, and folds at once where the user said so.
        folds: folds that are still to be trained.
        streamed: images are decoded while training, which takes at least one CPU.
        machines: of the cluster.

    Raises:
        ValueError: no machine, or more ranks than GPUs, or than hundredths of CPUs.

    """
    working(machines)
    ranks, fewest = config.workers_per_fold, config.elastic
    if gpus := sum(machine.gpus for machine in machines):
        if (fewest or ranks) > gpus:
            raise ValueError(f"--workers-per-fold {ranks}: the cluster has only {gpus} GPUs")
        asked = min(folds, config.folds_at_once or folds)
        shared = _on_gpus(ranks, asked, streamed, machines)
    else:
        # Folds side by side on the same CPUs gain nothing.
        shared = _on_cpus(ranks, min(folds, config.folds_at_once or 1), streamed, machines)
    return replace(shared, elastic=fewest)


def _on_gpus(ranks: int, folds: int, streamed: bool, machines: Sequence[Machine]) -> Plan:
    counts: Counter[str] = Counter()
    for machine in machines:
        counts[machine.kind] += machine.gpus
    kinds = {kind: gpus // ranks for kind, gpus in counts.items() if gpus >= ranks}
    # At least one: an elastic fold starts with fewer ranks than it would like.
    at_once = min(folds, sum(kinds.values()) or counts.total() // ranks or 1)
    # A CPU of each GPU's share is left to decoding, and to a stream all that no rank can use.
    share = min(machine.cpus / machine.gpus for machine in machines if machine.gpus)
    used = int(min(FEED_CPUS, share - 1) if streamed else share - 1)
    held = float(used) if used >= 1 else int(50 * share) / 100
    apart = kinds if ranks > 1 and len(+counts) > 1 else {}
    return Plan(at_once, ranks, held, max(1, min(8, used)), True, apart)


def _on_cpus(ranks: int, at_once: int, streamed: bool, machines: Sequence[Machine]) -> Plan:
    rooms = [float(machine.cpus) for machine in machines]
    threads = max(1, int(_largest_share(rooms, at_once * ranks)))
    if streamed:
        # A CPU decodes; of a single one it is half.
        rooms[rooms.index(max(rooms))] -= min(1, sum(rooms) / 2)
    if ranks > 100 * sum(rooms):
        raise ValueError(
            f"--workers-per-fold {ranks}: the cluster has only {sum(m.cpus for m in machines)} CPUs"
        )
    return Plan(at_once, ranks, _largest_share(rooms, at_once * ranks), threads, False)


def _largest_share(rooms: Sequence[float], ranks: int) -> float:
    """The most CPUs that each of so many ranks can hold: whole ones, else hundredths of one.

    Whole CPUs where there are enough, so that ranks spread over the nodes.
    """
    for held in range(int(max(rooms)), 0, -1):
        if sum(room // held for room in rooms) >= ranks:
            return held
    for hundredths in range(99, 0, -1):
        if sum(100 * room // hundredths for room in rooms) >= ranks:
            return hundredths / 100
    return 0.01
