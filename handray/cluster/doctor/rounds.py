"""What nodes are asked to do, all at once, and what is found by that."""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from handray.cluster.doctor import judge
from handray.cluster.doctor.facts import now
from handray.cluster.doctor.findings import Finding, Located, Verdict
from handray.cluster.doctor.trials import all_reduce, free_port, try_arithmetic
from handray.cluster.nodes import PATIENCE, Node, Question, ask, reason
from handray.cluster.storage import beneath, drop_folder, make_folder, try_write
from handray.reporting.tracking.store import check_tracking, tracking_uri

CLOCK_TRIPS = 3
"""Of which the quickest tells a node's clock best."""
INTERFACES = (
    "set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the interface that joins the nodes before "
    "ray start, and let them reach all of each other's ports"
)


def no_answer(error: Exception) -> Finding:
    """What a node is told of that raised where no check does."""
    remedy = "install handray at the same path as here, and see `ray status`"
    return Finding("node", "wrong", f"can't be asked ({reason(error)}): {remedy}")


def clock(node: Node) -> Finding:
    """Ask a node for the time, corrected for the way there and back."""
    trips = []
    for _ in range(CLOCK_TRIPS):
        left = time.time()
        (theirs,) = ask(now, [Question(node)])
        back = time.time()
        if isinstance(theirs, Exception):
            return no_answer(theirs)
        trips.append(((back - left) / 2, theirs - (left + back) / 2))
    doubt, ahead = min(trips)
    return judge.clock(ahead, doubt)


def arithmetic(nodes: Sequence[Node]) -> list[Located]:
    """Compute on every device of each node."""
    answers = ask(try_arithmetic, [Question(node, (node.gpus,), node.gpus) for node in nodes])
    found = []
    for node, answer in zip(nodes, answers, strict=True):
        if isinstance(answer, TimeoutError) and node.gpus:
            finding = _busy("arithmetic")
        elif isinstance(answer, Exception):
            remedy = "mend what is said of GPUs, driver and kernels, else install torch anew"
            finding = Finding("arithmetic", "wrong", f"{reason(answer)}: {remedy}")
        else:
            finding = Finding("arithmetic", "ok", answer)
        found.append(Located(node.name, finding))
    return found


def reduction(nodes: Sequence[Node]) -> Finding:
    """An all-reduce between the nodes with GPUs, else all: a rank each, or two on a single one."""
    chosen = [node for node in nodes if node.gpus] or list(nodes)
    places = chosen if len(chosen) > 1 else 2 * chosen
    gpus = int(all(node.gpus >= places.count(node) for node in chosen))
    (port,) = ask(free_port, [Question(places[0])])
    if isinstance(port, Exception):
        return no_answer(port)
    shared = (len(places), places[0].address, port, gpus)
    answers = ask(all_reduce, [Question(n, (rank, *shared), gpus) for rank, n in enumerate(places)])
    backend = "NCCL" if gpus else "gloo"
    if gpus and any(isinstance(answer, TimeoutError) for answer in answers):
        return _busy("all-reduce")
    failures = [
        f"{node.name}: {reason(answer)}"
        for node, answer in zip(places, answers, strict=True)
        if isinstance(answer, Exception)
    ]
    if failures:
        sentence = f"{backend} fails ({'; '.join(failures)}): {INTERFACES}"
        return Finding("all-reduce", "wrong", sentence)
    where = "on one node" if len(chosen) == 1 else "one a node"
    where += " with GPUs" if len(chosen) < len(nodes) else ""
    sentence = f"{backend}, {len(places)} ranks, {where}: {min(answers) / 1e9:.2g} GB/s"
    return Finding("all-reduce", "ok", sentence)


def _busy(check: str) -> Finding:
    sentence = (
        f"GPUs didn't answer within {PATIENCE:.0f} s; others may hold them: see `ray status`, and "
        "ask again when they are free"
    )
    return Finding(check, "note", sentence)


def reach_storage(nodes: Sequence[Node], storage: str | None) -> list[Located]:
    """Write into the storage from each node; None is this machine's own folder."""
    if storage is None:
        if len(nodes) == 1:
            return [Located("", Finding("storage", "ok", "one node needs none but runs/"))]
        sentence = "none is named: give --storage, as training does, to see that all nodes reach it"
        return [Located("", Finding("storage", "note", sentence))]
    remedy = "give --storage a folder that all nodes mount and may write to, or an s3:// URL"
    # A new name, so that a folder of the same path on another disk isn't taken for it.
    folder = beneath(storage, f"doctor-{secrets.token_hex(4)}")
    try:
        make_folder(folder)
    except (OSError, ValueError) as error:
        sentence = f"{storage} can't be written to ({reason(error)}): {remedy}"
        return [Located("", Finding("storage", "wrong", sentence))]
    try:
        return reached("storage", nodes, try_write, folder, remedy)
    finally:
        drop_folder(folder)


def reach_tracking(nodes: Sequence[Node]) -> list[Located]:
    """See the tracking store from here, and a server from each node too."""
    uri = tracking_uri()
    try:
        check_tracking()
    except ValueError as error:
        return [Located("", Finding("tracking", "wrong", str(error)))]
    if uri.startswith("sqlite:"):
        return [Located("", Finding("tracking", "ok", "a file of this machine"))]
    # Only the process that starts a job writes there.
    remedy = "start jobs on another node, or let this one reach the server"
    return reached("tracking", nodes, check_tracking, uri, remedy, "note")


def reached(
    check: str,
    nodes: Sequence[Node],
    function: Callable[[str], Any],
    where: str,
    remedy: str,
    otherwise: Verdict = "wrong",
) -> list[Located]:
    """Whether a function that raises where something isn't reached returns on each node."""
    found = []
    answers = ask(function, [Question(node, (where,)) for node in nodes])
    for node, answer in zip(nodes, answers, strict=True):
        finding = Finding(check, "ok", "reached")
        if isinstance(answer, Exception):
            finding = Finding(check, otherwise, f"not reached ({reason(answer)}): {remedy}")
        found.append(Located(node.name, finding))
    return found
