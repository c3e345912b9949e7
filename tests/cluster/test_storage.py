"""Where the nodes keep files: paths and URLs."""

from pathlib import Path

import pytest

from handray.cluster.storage import beneath


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ("/mnt/x", "/mnt/x/demo"),
        ("mnt/x/", f"{Path.cwd()}/mnt/x/demo"),
        ("s3://bucket", "s3://bucket/demo"),
        ("s3://key:secret@bucket/dir/", "s3://key:secret@bucket/dir/demo"),
        (
            "s3://bucket/dir?scheme=http&endpoint_override=minio:9000",
            "s3://bucket/dir/demo?scheme=http&endpoint_override=minio:9000",
        ),
    ],
)
def test_a_runs_folder_lies_in_the_storage_whatever_options_its_url_has(storage, expected):
    assert beneath(storage, "demo") == expected
