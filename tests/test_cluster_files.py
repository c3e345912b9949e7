"""The clusters' files as Ray reads them, without a server."""

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
import pytest
from pathlib import Path

TOP = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["cluster.yaml", "cluster.aws.yaml"])
def test_ray_takes_the_file(name, monkeypatch):
    monkeypatch.chdir(TOP)
    config = yaml.safe_load(Path(name).read_text())
    validate_config(prepare_config(config))
    assert all(Path(local).exists() for local in config["file_mounts"].values())
