"""How folds share machines."""

import pytest

from handray.cluster.runtime import TRIAL_CPUS, plan
from handray.config import ClusterConfig


def test_without_a_gpu_one_fold_at_a_time_has_all_cpus():
    shares = plan(ClusterConfig(), folds=5, streamed=False, nodes=[(8, 0)])
    assert (shares.at_once, shares.ranks, shares.threads, shares.use_gpu) == (1, 1, 8, False)


def test_folds_run_side_by_side_one_gpu_each_and_share_the_cpus():
    shares = plan(ClusterConfig(), folds=5, streamed=False, nodes=[(8, 0), (16, 2), (16, 2)])
    assert (shares.at_once, shares.threads, shares.use_gpu) == (4, 7, True)
    pairs = plan(
        ClusterConfig(workers_per_fold=2), folds=5, streamed=False, nodes=[(8, 0), (16, 2), (16, 2)]
    )
    assert (pairs.at_once, pairs.ranks) == (2, 2)


@pytest.mark.parametrize("cpus", [1, 2, 3, 8])
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("streamed", [False, True])
def test_trials_and_ranks_never_hold_more_cpus_than_there_are(cpus, ranks, at_once, streamed):
    config = ClusterConfig(workers_per_fold=ranks, folds_at_once=at_once)
    shares = plan(config, 3, streamed, [(cpus, 0)])
    held = shares.at_once * (shares.ranks * shares.cpus + TRIAL_CPUS)
    assert held <= cpus + TRIAL_CPUS * at_once
    assert shares.cpus > 0
    if streamed and cpus > 1:
        assert cpus - held >= 0.99, "a CPU decodes"


def test_gpu_ranks_fit_their_own_node_and_leave_a_cpu_to_decode():
    big_head = plan(ClusterConfig(), 5, False, [(64, 0), (16, 4)])
    assert 4 * big_head.cpus <= 12
    narrow = plan(ClusterConfig(workers_per_fold=2), 5, True, [(2, 2)])
    assert 2 * narrow.cpus + TRIAL_CPUS < 2


def test_a_stream_has_the_cpus_that_no_rank_can_use():
    shares = plan(ClusterConfig(), 5, True, [(64, 4)])
    assert (shares.cpus, shares.threads) == (4, 4)


def test_ranks_of_a_cpu_cluster_hold_the_cpus_that_they_compute_with():
    shares = plan(ClusterConfig(workers_per_fold=4), 5, False, [(8, 0)] * 4)
    assert shares.cpus == 7, "two of them don't fit one node"


def test_more_ranks_than_gpus_are_refused():
    with pytest.raises(ValueError, match="--workers-per-fold 8: the cluster has only 4 GPUs"):
        plan(ClusterConfig(workers_per_fold=8), 5, False, [(40, 4)])
