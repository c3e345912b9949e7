"""What a stranger's file, server or command line can't do, and what is never shown."""

import ast
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import pytest
from mlflow.exceptions import MlflowException
from test_house import TOP, modules

from handray.cli import masked
from handray.reporting.tracking.fetch import download_checkpoint, download_submission

CODE = [*modules(), *sorted((TOP / "benchmarks").glob("*.py"))]
# What a process of the same job has made, in memory.
PICKLES = {
    "handray/cluster/image_work.py",
    "handray/data/stream.py",
    "handray/cluster/predict_all.py",
}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
CODE_OF_DATA = {"eval", "exec", "compile", "yaml.load", "pandas.read_pickle", "pd.read_pickle"}


def calls() -> Iterator[tuple[str, ast.Call, dict[str, object]]]:
    """File, call and constant keywords of each call of the package, the jobs and benchmarks."""
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                keywords = {
                    keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords
                }
                yield path.relative_to(TOP).as_posix(), node, keywords


def test_files_are_read_as_data_and_never_run():
    loads = 0
    for file, call, keywords in calls():
        name = ast.unparse(call.func)
        where = f"{file}:{call.lineno} {name}"
        if name == "torch.load":
            loads += 1
            assert keywords.get("weights_only") is True, where
        assert not keywords.get("allow_pickle"), where
        assert name not in CODE_OF_DATA, where
        if name in ("pickle.load", "pickle.loads"):
            assert file in PICKLES, where
    assert loads >= 3


def test_no_shell_reads_what_a_user_wrote():
    commands = 0
    for file, call, keywords in calls():
        name = ast.unparse(call.func)
        where = f"{file}:{call.lineno} {name}"
        assert "shell" not in keywords, where
        assert name not in SHELLS, where
        if name.startswith("subprocess.") and call.args:
            commands += 1
            assert not isinstance(call.args[0], ast.Constant | ast.JoinedStr | ast.BinOp), where
    assert commands >= 2


@pytest.mark.parametrize(
    "text, shown",
    [
        ("at http://me:hunter2@mlflow:5000/x, yes", "at http://***@mlflow:5000/x, yes"),
        ("https://hunter2@host", "https://***@host"),
        ("s3://KEY:hunter2@bucket/handray", "s3://***@bucket/handray"),
        ("s3://b?access_key=hunter2&secret_key=hunter2", "s3://b?access_key=***&secret_key=***"),
        ("postgresql://h/db?password=hunter2", "postgresql://h/db?password=***"),
        ("s3://bucket/a@b, /home/me@here:/x", "s3://bucket/a@b, /home/me@here:/x"),
    ],
)
def test_secrets_of_urls_are_masked_and_nothing_else(text, shown):
    assert masked(text) == shown


@pytest.mark.parametrize("error", ["ValueError", "OSError", "RuntimeError"])
def test_a_job_that_fails_shows_no_password(error):
    job = f"""
from handray.cli import run_job
def main():
    raise {error}("no answer from http://me:hunter2@mlflow:5000/api"[:])
run_job(main)
"""
    done = subprocess.run([sys.executable, "-c", job], capture_output=True, text=True)
    assert done.returncode == (1 if error == "RuntimeError" else 2)
    assert "hunter2" not in done.stdout + done.stderr
    assert "http://***@mlflow:5000/api" in done.stderr


class Hostile(BaseHTTPRequestHandler):
    """An MLflow server whose files want to climb out of the folder they are fetched into."""

    listings: dict[str, list[dict]]

    def do_GET(self):
        url = urlparse(self.path)
        if url.path.endswith("/runs/get"):
            home = "mlflow-artifacts:/1/abc/artifacts"
            info = {"run_id": "abc", "run_uuid": "abc", "run_name": "bad", "experiment_id": "1"}
            info |= {"artifact_uri": home, "status": "FINISHED", "lifecycle_stage": "active"}
            content = json.dumps({"run": {"info": info, "data": {}}})
        elif url.path.endswith("/artifacts"):
            folder = parse_qs(url.query)["path"][0].partition("artifacts")[2].strip("/")
            content = json.dumps({"files": self.listings.get(folder, [])})
        else:
            content = "image_name,class,rle\nclimbed.png,Radius,\n"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def hostile(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"http://me:hunter2@127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    yield
    server.shutdown()
    server.server_close()


def file(path: str, is_dir: bool = False) -> dict:
    return {"path": path, "is_dir": is_dir}


@pytest.mark.parametrize(
    "listings",
    [
        {"": [file("output.csv"), file("../../climbed.csv")]},
        {"": [file("output.csv"), file("/climbed.csv")]},
        {"": [file("NAME", True)], "NAME": [file("../../../climbed.csv")]},
        {"": [file("NAME", True)], "NAME": [file("..%2f..%2f..%2fclimbed.csv")]},
        {"": [file("NAME", True)], "NAME": [file("climbed.csv")]},
        {"": [file("NAME", True)], "NAME": [file("../../climbed", True)]},
    ],
)
@pytest.mark.parametrize(
    "fetch, name", [(download_submission, "output.csv"), (download_checkpoint, "best.pt")]
)
def test_files_of_a_hostile_server_stay_in_their_folder(
    hostile, tmp_path, monkeypatch, listings, fetch, name
):
    listings = json.loads(json.dumps(listings).replace("NAME", name))
    monkeypatch.setattr(Hostile, "listings", listings, raising=False)
    into = tmp_path / "a/b/into"
    into.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"--runs? abc"):
        fetch("abc", into)
    outside = [path for path in tmp_path.rglob("*") if not path.is_relative_to(into)]
    assert sorted(outside) == [tmp_path / "a", tmp_path / "a/b"]


def test_a_server_behind_a_password_is_asked_and_its_file_is_fetched(
    hostile, tmp_path, monkeypatch
):
    monkeypatch.setattr(Hostile, "listings", {"": [file("output.csv")]}, raising=False)
    assert "climbed.png" in download_submission("abc", tmp_path).read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["output.csv"]


def test_a_run_of_a_database_that_points_out_of_its_folder_is_refused(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(tracking_uri=uri)
    store = tmp_path / "store/deep"
    store.mkdir(parents=True)
    run = client.create_run(client.create_experiment("x", f"file://{store}")).info.run_id
    (tmp_path / "own").write_text("mine")
    with pytest.raises(MlflowException):
        client.log_artifact(run, str(tmp_path / "own"), "../../climbed")
    folder = store / run / "artifacts/output.csv"
    folder.mkdir(parents=True)
    (folder / "..x").write_text("x")
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(ValueError, match=r"output\.csv is no file"):
        download_submission(run, into)
