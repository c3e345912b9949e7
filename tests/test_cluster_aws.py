"""cluster.aws.yaml beside an EC2 that moto plays: what Ray asks for, gets, and gives back.

What moto can't play is not here: machines, so neither SSH, nor set-up, nor a spot price.
"""

import logging
from functools import partial
from pathlib import Path

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler._private.resource_demand_scheduler import (
    _default_utilization_scorer,
    get_nodes_for,
)
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_NODE_STATUS, TAG_RAY_USER_NODE_TYPE

from handray.cluster.shares import Machine, plan
from handray.config import ClusterConfig

FILE = Path(__file__).parents[1] / "cluster.aws.yaml"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """EC2 and IAM of an empty account; credentials, region and home are not this machine's."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("HOME", str(home))
        yield
    server.stop()


@pytest.fixture(scope="module")
def config(cloud) -> dict:
    """The file as `ray up` has filled it in, with an image of the region."""
    config = yaml.safe_load(FILE.read_text())
    region = config["provider"]["region"]
    boto3.client("iam", region).create_instance_profile(InstanceProfileName="handray")
    image = boto3.client("ec2", region).describe_images()["Images"][0]["ImageId"]
    for node_type in config["available_node_types"].values():
        assert node_type["node_config"]["ImageId"] == "ami-00000000000000000"
        node_type["node_config"]["ImageId"] = image
    config = prepare_config(config)
    validate_config(config)
    return bootstrap_aws(config)


def start(provider, config: dict, kind: str, count: int) -> None:
    name = "head" if kind == "head" else "worker"
    tags = {TAG_RAY_NODE_KIND: kind, TAG_RAY_USER_NODE_TYPE: name}
    tags |= {TAG_RAY_NODE_STATUS: "uninitialized"}
    for _ in range(count):
        provider.create_node(config["available_node_types"][name]["node_config"], tags, 1)


def test_machines_are_rented_as_the_file_says_and_all_are_given_back(config):
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    start(provider, config, "head", 1)
    start(provider, config, "worker", 3)
    assert len(provider.non_terminated_nodes({})) == 4
    workers = provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"})
    assert len(workers) == 3
    ec2 = boto3.resource("ec2", config["provider"]["region"])
    (head,) = provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "head"})
    head, worker = ec2.Instance(head), ec2.Instance(workers[0])
    assert (head.instance_type, head.instance_lifecycle) == ("m6i.xlarge", None)
    assert (worker.instance_type, worker.instance_lifecycle) == ("g5.2xlarge", "spot")
    for machine in (head, worker):
        assert machine.iam_instance_profile["Arn"].endswith("/handray")
        assert [volume.size for volume in machine.volumes.all()] == [200]
    provider.terminate_nodes(workers)
    assert provider.non_terminated_nodes({}) == [head.id]
    provider.terminate_nodes([head.id])
    assert provider.non_terminated_nodes({}) == []


def test_from_outside_there_is_ssh_alone(config):
    ec2 = boto3.client("ec2", config["provider"]["region"])
    groups = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["handray"]}])
    (group,) = groups["SecurityGroups"]
    inside, outside = group["IpPermissions"]
    assert [pair["GroupId"] for pair in inside["UserIdGroupPairs"]] == [group["GroupId"]]
    assert inside["IpRanges"] == inside["Ipv6Ranges"] == []
    assert (outside["FromPort"], outside["ToPort"], outside["UserIdGroupPairs"]) == (22, 22, [])


@pytest.mark.parametrize("folds, ranks, machines", [(1, 1, 1), (4, 1, 4), (1, 3, 3), (2, 2, 4)])
def test_folds_are_asked_for_a_machine_a_rank_and_no_more(config, folds, ranks, machines):
    types = config["available_node_types"]
    has = types["worker"]["resources"]
    shares = plan(
        ClusterConfig(workers_per_fold=ranks), folds, False, [Machine(0), *[Machine(8, 1)] * 4]
    )
    assert Machine(types["head"]["resources"]["CPU"]) == Machine(0)
    assert Machine(has["CPU"], has["GPU"]) == Machine(8, 1)
    scorer = partial(
        _default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({})
    )
    bundles = [shares.resources()] * (folds * ranks)
    for demand in (bundles, [{"GPU": 1}] * len(bundles)):  # of a job, and as the README asks
        wanted, left = get_nodes_for(types, {"head": 1}, "head", 4, list(demand), scorer)
        assert (dict(wanted), left) == ({"worker": machines}, [])
