"""How folds share machines: plans, and a small model of Ray that shows that all folds get on."""

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest

from handray.cluster.shares import KIND, Machine, plan
from handray.config import ClusterConfig

V100S, T4S = [Machine(16, 4, "V100")] * 2, [Machine(8, 2, "T4")]


def test_without_a_gpu_one_fold_at_a_time_has_all_cpus():
    shares = plan(ClusterConfig(), folds=5, streamed=False, machines=[Machine(8)])
    assert (shares.at_once, shares.ranks, shares.threads, shares.use_gpu) == (1, 1, 8, False)


def test_folds_run_side_by_side_one_gpu_each_and_share_the_cpus():
    machines = [Machine(8), Machine(16, 2), Machine(16, 2)]
    shares = plan(ClusterConfig(), 5, False, machines)
    assert (shares.at_once, shares.threads, shares.use_gpu) == (4, 7, True)
    pairs = plan(ClusterConfig(workers_per_fold=2), 5, False, machines)
    assert (pairs.at_once, pairs.ranks) == (2, 2)


def test_gpu_ranks_fit_their_own_node_and_leave_a_cpu_to_decode():
    big_head = plan(ClusterConfig(), 5, False, [Machine(64), Machine(16, 4)])
    assert 4 * big_head.cpus <= 12
    narrow = plan(ClusterConfig(workers_per_fold=2), 5, True, [Machine(2, 2)])
    assert 2 * narrow.cpus < 2


def test_a_stream_has_the_cpus_that_no_rank_can_use():
    shares = plan(ClusterConfig(), 5, True, [Machine(64, 4)])
    assert (shares.cpus, shares.threads) == (4, 4)


def test_ranks_of_a_cpu_cluster_hold_the_cpus_that_they_compute_with():
    shares = plan(ClusterConfig(workers_per_fold=4), 5, False, [Machine(8)] * 4)
    assert (shares.cpus, shares.threads) == (8, 8)


def test_a_rank_holds_no_more_than_its_node_has():
    shares = plan(ClusterConfig(workers_per_fold=2), 5, False, [Machine(4), Machine(2), Machine(2)])
    assert shares.cpus == 2, "of three CPUs each, the second rank would wait for ever"


def test_more_ranks_than_gpus_are_refused():
    with pytest.raises(ValueError, match="--workers-per-fold 8: the cluster has only 4 GPUs"):
        plan(ClusterConfig(workers_per_fold=8), 5, False, [Machine(40, 4)])


def test_a_head_that_takes_no_work_is_no_cluster_yet():
    with pytest.raises(ValueError, match=r"^the cluster has no machine that works.*Rented GPUs"):
        plan(ClusterConfig(), 5, False, [Machine(0)])


def test_elastic_folds_may_have_fewer_gpus_than_ranks_but_not_fewer_than_they_go_on_with():
    shares = plan(ClusterConfig(workers_per_fold=8, elastic=4), 5, False, [Machine(40, 4)])
    assert (shares.at_once, shares.ranks, shares.elastic) == (1, 8, 4)
    assert shares.fits([Machine(40, 4)])
    with pytest.raises(ValueError, match="--workers-per-fold 8: the cluster has only 4 GPUs"):
        plan(ClusterConfig(workers_per_fold=8, elastic=5), 5, False, [Machine(40, 4)])


def test_ranks_of_one_fold_have_one_kind_of_gpu():
    pairs = plan(ClusterConfig(workers_per_fold=2), 9, False, [*V100S, *T4S])
    assert (pairs.kinds, pairs.at_once) == ({"V100": 4, "T4": 1}, 5)
    fours = plan(ClusterConfig(workers_per_fold=4), 9, False, [*V100S, *T4S])
    assert (fours.kinds, fours.at_once) == ({"V100": 2}, 2)
    single = plan(ClusterConfig(), 99, False, [*V100S, *T4S])
    assert (single.kinds, single.at_once) == ({}, 10)


def test_kinds_are_mixed_only_where_no_kind_is_enough():
    mixed = plan(ClusterConfig(workers_per_fold=9), 5, False, [*V100S, *T4S])
    assert (mixed.kinds, mixed.at_once) == ({}, 1)


def test_a_plan_knows_whether_the_cluster_still_has_what_it_needs():
    pairs = plan(ClusterConfig(workers_per_fold=2), 5, False, [*V100S, *T4S])
    assert pairs.fits([Machine(8, 2, "T4")], "T4")
    assert not pairs.fits([Machine(8, 1, "T4"), Machine(8, 4, "V100")], "T4")
    assert not pairs.fits([Machine(64, 1, "T4")])
    assert not pairs.fits([])


# ---- A model of Ray: a fold's bundles are placed together or not at all, those first that fit ----

CLUSTERS = [
    *([Machine(cpus)] for cpus in (1, 2, 3, 8)),
    [Machine(2)] * 3,
    [Machine(4), Machine(2), Machine(2)],
    [Machine(1), Machine(7)],
    [Machine(0), Machine(5)],
    *([Machine(2, gpus)] for gpus in (1, 2, 5)),
    [Machine(1, 4)],
    [Machine(3, 2)],
    [Machine(0), Machine(8, 4), Machine(8, 4)],
    [Machine(64), Machine(16, 4), Machine(4, 4)],
    [*V100S, *T4S],
    [Machine(0, 0), Machine(4, 1, "V100"), Machine(4, 1, "T4"), Machine(4, 3, "A10G")],
]


class Cluster:
    """Free resources of each node; jobs place groups of equal bundles."""

    def __init__(self, machines: list[Machine]) -> None:
        self.free = [
            Counter(
                {"CPU": 100 * m.cpus, "GPU": 100 * m.gpus, f"{KIND}{m.kind}": 100 * bool(m.gpus)}
            )
            for m in machines
        ]

    def place(self, bundle: dict[str, float], count: int) -> list[int] | None:
        """Nodes of a group's bundles; None, and nothing taken, where they don't all fit."""
        need = {name: round(100 * value, 3) for name, value in bundle.items() if value}
        taken: list[int] = []
        for _ in range(count):
            fitting = (
                n for n, f in enumerate(self.free) if all(f[k] >= v for k, v in need.items())
            )
            if (node := next(fitting, None)) is None:
                self.release(bundle, taken)
                return None
            self.free[node].subtract(need)
            taken.append(node)
        return taken

    def release(self, bundle: dict[str, float], nodes: list[int]) -> None:
        for node in nodes:
            self.free[node].update({k: round(100 * v, 3) for k, v in bundle.items()})


def run(machines, jobs) -> list[list[int]]:
    """Folds of each job that trained at once, round by round, until all are trained.

    Jobs are (plan, folds); a fold that is placed trains until no other can be placed.
    """
    cluster, waiting = Cluster(machines), [folds for _, folds in jobs]
    rounds: list[list[int]] = []
    while any(waiting):
        running = []
        for job, (shares, _) in enumerate(jobs):
            taken: Counter[str] = Counter()
            for _ in range(min(shares.at_once, waiting[job])):
                kinds = shares.kinds or {"": 1}
                kind = min(kinds, key=lambda kind: taken[kind] / kinds[kind])
                taken[kind] += 1
                bundle = shares.resources(kind)
                if nodes := cluster.place(bundle, shares.ranks):
                    running.append((job, bundle, nodes))
        assert running, f"nothing moves: {machines}, {jobs}, {cluster.free}"
        rounds.append([sum(one == job for one, *_ in running) for job in range(len(jobs))])
        for job, bundle, nodes in running:
            waiting[job] -= 1
            cluster.release(bundle, nodes)
    return rounds


def every_plan():
    for machines, ranks, asked, streamed in product(
        CLUSTERS, (1, 2, 3, 4, 5), (0, 1, 2, 7), (False, True)
    ):
        gpus = sum(machine.gpus for machine in machines)
        if not gpus or ranks <= gpus:
            config = ClusterConfig(workers_per_fold=ranks, folds_at_once=asked)
            yield machines, plan(config, 5, streamed, machines), streamed


def test_alone_as_many_folds_train_at_once_as_planned_and_the_rest_queue():
    tried = 0
    for machines, shares, _ in every_plan():
        rounds = [count for (count,) in run(machines, [(shares, 5)])]
        whole, rest = divmod(5, shares.at_once)
        assert rounds == [shares.at_once] * whole + [rest] * (rest > 0), (machines, shares)
        assert shares.fits(machines, next(iter(shares.kinds), ""))
        tried += 1
    assert tried > 500


def test_with_gpus_of_one_kind_floor_of_gpus_by_ranks_train_at_once():
    for gpus, ranks, folds in product(range(1, 9), range(1, 9), (1, 5, 8)):
        if ranks <= gpus:
            shares = plan(ClusterConfig(workers_per_fold=ranks), folds, False, [Machine(32, gpus)])
            assert shares.at_once == min(folds, gpus // ranks)


def test_a_streams_decoder_finds_a_cpu_beside_all_ranks():
    for machines, shares, streamed in every_plan():
        if streamed and not shares.use_gpu:
            held = shares.at_once * shares.ranks * shares.cpus
            total = sum(machine.cpus for machine in machines)
            assert held < total - min(1, total / 2) + 1e-9, (machines, shares)


def test_two_jobs_on_one_cluster_both_end_whatever_each_asks_for():
    plans = list(every_plan())
    for index, (machines, shares, _) in enumerate(plans):
        for others, other, _ in plans[index::7]:
            if others == machines:
                run(machines, [(shares, 5), (other, 5)])


def test_a_fold_waits_for_whoever_holds_the_machines_and_then_trains():
    for machines, shares, _ in every_plan():
        cluster = Cluster(machines)
        held = {"GPU": 1} if shares.use_gpu else {"CPU": 1}
        while cluster.place(held, 1):  # another job takes all there is
            pass
        bundle = shares.resources(next(iter(shares.kinds), ""))
        assert cluster.place(bundle, shares.ranks) is None
        assert Cluster(machines).place(bundle, shares.ranks), "once it has ended"


def test_the_model_sees_a_plan_that_would_wait_for_ever():
    shares = plan(ClusterConfig(workers_per_fold=2), 5, False, [Machine(4), Machine(2), Machine(2)])
    with pytest.raises(AssertionError, match="nothing moves"):
        run([Machine(4), Machine(2), Machine(2)], [(replace(shares, cpus=3), 5)])
