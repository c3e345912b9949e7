"""Two ways to start a job in a test that are quicker than a process with a Ray of its own."""

import pytest
from processes import JOBS

from handray.cli import run_job


@pytest.fixture
def run_here(load_job, monkeypatch, capsys):
    """Runs a job in this process: (exit code, what it said); for what ends before Ray starts."""

    def run_in(job, *arguments, folder, **environment):
        monkeypatch.chdir(folder)
        for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", [job, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_job(load_job(JOBS / job).main)
        said = capsys.readouterr()
        return ended.value.code, said.out + said.err

    return run_in


@pytest.fixture(scope="session")
def shared_ray(one_ray) -> str:
    """RAY_ADDRESS of the test run's own Ray, for jobs in processes of their own."""
    return one_ray.get_runtime_context().gcs_address
