"""The clusters' files as Ray reads them; `make cluster-test` runs one of them for real."""

from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

TOP = Path(__file__).parents[1]
FILES = ["cluster.yaml", "cluster.aws.yaml"]


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_a_clusters_file_and_what_it_copies_is_there(name):
    config = yaml.safe_load((TOP / name).read_text())
    validate_config(prepare_config(config))
    assert all((TOP / local).exists() for local in config["file_mounts"].values())


def test_clusters_differ_in_their_first_block_and_the_autoscaler_alone():
    below = [(TOP / name).read_text().split("\nfile_mounts:")[1] for name in FILES]
    differing = set(below[0].splitlines()) ^ set(below[1].splitlines())
    assert {line.strip() for line in differing} == {
        "# The newer autoscaler doesn't start the workers of this provider.",
        "export RAY_enable_autoscaler_v2=0;",
    }
