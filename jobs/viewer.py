"""Look at radiographs, labels and predictions in the browser.

Shows images of a data folder (--data) with CSVs of predictions (--csv, --runs), or what you upload:
an image, its label, and a network (a fold's best.pt or an ONNX export). Predictions side by side,
by class or group of bones; where they differ from the label, and how much each pixel costs; where
members disagree; the next worst image. Leaves nothing: uploads are in memory, or for the moment of
reading in a temporary folder.

  python jobs/viewer.py --data DIR --csv runs/NAME/oof.csv
  python jobs/viewer.py --data DIR --csv runs/NAME/fold*/output.csv
  python jobs/viewer.py
  streamlit run jobs/viewer.py -- --data DIR --runs ID

It can be reached from this machine alone, unless --address says otherwise; there is no password.
On a server, tunnel to it: ssh -L 8501:localhost:8501 SERVER.
"""

import argparse
import socket
import sys
from pathlib import Path

from handray.cli import Parser, run_job


def main() -> None:
    """Check the command line, then serve until Ctrl-C; exit code 2 for bad input."""
    options = parse_arguments()
    try:
        from streamlit.web import cli
    except ImportError:
        raise ValueError("the viewer needs streamlit: pip install 'handray[viewer]'") from None
    check(options)
    check_address(options.address, options.port)

    server = [f"--server.address={options.address}", f"--server.port={options.port}"]
    sys.argv = ["streamlit", "run", __file__, *server, "--", *sys.argv[1:]]
    cli.main(prog_name="streamlit")


def parse_arguments() -> argparse.Namespace:
    """The command line; raises ValueError for a wrong one."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data", metavar="DIR", help="data folder to choose images of")
    add("--csv", nargs="+", type=Path, default=[], metavar="CSV", help="predictions of its images")
    add("--runs", nargs="+", default=[], metavar="ID", help="MLflow runs, for their predictions")
    add("--address", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    add("--port", type=int, default=8501, help="(default: 8501)")
    return parser.parse_args()


def check(options: argparse.Namespace) -> None:
    """Raise ValueError for what can't be shown."""
    if (options.csv or options.runs) and not options.data:
        raise ValueError("a CSV holds masks, not images; name their folder with --data DIR")
    if options.data:
        from handray.data.files import Files

        Files.at(options.data)
    for path in options.csv:
        if not path.is_file():
            raise ValueError(f"--csv {path}: no such file")
    if options.runs:
        from handray.reporting.tracking.fetch import run_name

        for run_id in options.runs:
            run_name(run_id)


def check_address(address: str, port: int) -> None:
    """Raise ValueError where nothing can listen there."""
    if not 0 < port < 65536:
        raise ValueError(f"--port is 1 to 65535, got {port}")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(place)
    except OSError as error:
        raise ValueError(
            f"can't listen on port {port} of {address} ({error.strerror}); "
            f"choose another with --port, or end what listens there"
        ) from error


def _serves() -> bool:
    """Whether Streamlit is running this file, which it does under the name __main__ as well."""
    runtime = sys.modules.get("streamlit.runtime")
    return runtime is not None and bool(runtime.exists())


if __name__ == "__main__":
    if _serves():
        from handray.viewing.page import show

        show(parse_arguments, check)
    else:
        run_job(main)
