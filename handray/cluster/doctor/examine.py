"""The examination of a cluster: what its nodes are asked, and what is told of the answers."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from handray.cluster.decoding import store_share
from handray.cluster.doctor import judge
from handray.cluster.doctor.facts import Facts, gather, now
from handray.cluster.doctor.findings import Finding, Located, Verdict, lines
from handray.cluster.doctor.trials import all_reduce, free_port, see_data, try_arithmetic
from handray.cluster.nodes import Node, Question, alive, ask, reason
from handray.cluster.storage import drop_folder, make_folder, try_write
from handray.data.files import Files
from handray.data.layout import list_split, no_images_error, read_class_names
from handray.reporting.tracking import check_tracking, tracking_uri

CLOCK_TRIPS = 3
"""Of which the quickest tells a node's clock best."""
INTERFACES = (
    "set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the interface that joins the nodes before "
    "ray start, and let them reach all of each other's ports"
)


@dataclass(frozen=True)
class DataSize:
    """What a data folder asks of a cluster."""

    root: str
    """Absolute path or URL."""
    images: int
    classes: int

    @classmethod
    def of(cls, root: str) -> "DataSize":
        """Count a folder's images and classes; ValueError where it holds none to train on."""
        files = Files.at(root)
        train = list_split(files, "train").sizes
        if not train:
            raise no_images_error(files)
        images = len(train) + len(list_split(files, "test").sizes)
        return cls(files.url("").rstrip("/"), images, len(read_class_names(files)))


def check_machines() -> None:
    """Judge what every node knows of itself in a moment; prints notes.

    Raises:
        ValueError: something is wrong; a sentence each, with its remedy.

    """
    nodes, ours = alive(), gather()
    answers = [ours] if len(nodes) == 1 else ask(gather, list(map(Question, nodes)))
    found = _judged(nodes, answers, lambda facts, node: judge.quick(facts, ours, node.gpus))
    for line in lines(_only("note", found), len(nodes)):
        print(line)
    if wrong := lines(_only("wrong", found), len(nodes)):
        raise ValueError("\n".join(line.removeprefix("wrong").strip() for line in wrong))


def examine(data: DataSize | None, size: int, storage: str | None) -> Iterator[list[Located]]:
    """Every check, as each is done, on all nodes at once.

    Args:
        data: what is to be trained on; None leaves out what depends on it.
        size: side of the model frame, pixels.
        storage: absolute path or URL that all nodes are to reach; None for this machine's own.

    """
    nodes, ours = alive(), gather()
    answers = ask(gather, list(map(Question, nodes)))
    yield _judged(nodes, answers, lambda facts, node: _all_of_facts(facts, ours, node))
    nodes = [node for node, facts in zip(nodes, answers, strict=True) if isinstance(facts, Facts)]
    if not nodes:
        return
    yield [Located(node.name, _clock(node)) for node in nodes]
    yield _arithmetic(nodes)
    yield [Located("", _all_reduce(nodes))]
    if data:
        needed, room = store_share(data.images, data.classes, [size])
        yield [Located("", judge.store_room(needed, room))]
        yield _reached("data", nodes, see_data, data.root, "mount that folder at the same path")
    yield _storage(nodes, storage)
    yield _tracking(nodes)


def _all_of_facts(facts: Facts, ours: Facts, node: Node) -> list[Finding]:
    shared = judge.shared_memory(facts, node.store_bytes)
    return [*judge.quick(facts, ours, node.gpus), shared, judge.disk(facts)]


def _judged(
    nodes: Sequence[Node],
    answers: Sequence[Facts | Exception],
    judgement: Callable[[Facts, Node], list[Finding]],
) -> list[Located]:
    """What nodes that answered have, check by check, after those that didn't answer."""
    pairs = list(zip(nodes, answers, strict=True))
    silent = [Located(n.name, _no_answer(a)) for n, a in pairs if isinstance(a, Exception)]
    by_check: dict[str, list[Located]] = {}
    for node, facts in pairs:
        if isinstance(facts, Facts):
            for finding in judgement(facts, node):
                by_check.setdefault(finding.check, []).append(Located(node.name, finding))
    return silent + [found for check in by_check.values() for found in check]


def _no_answer(error: Exception) -> Finding:
    remedy = "install handray at the same path as here, and see `ray status`"
    return Finding("node", "wrong", f"can't be asked ({reason(error)}): {remedy}")


def _only(verdict: Verdict, found: Sequence[Located]) -> list[Located]:
    return [one for one in found if one.finding.verdict == verdict]


def _clock(node: Node) -> Finding:
    trips = []
    for _ in range(CLOCK_TRIPS):
        left = time.time()
        (theirs,) = ask(now, [Question(node)])
        back = time.time()
        if isinstance(theirs, Exception):
            return _no_answer(theirs)
        trips.append(((back - left) / 2, theirs - (left + back) / 2))
    doubt, ahead = min(trips)
    return judge.clock(ahead, doubt)


def _arithmetic(nodes: Sequence[Node]) -> list[Located]:
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


def _all_reduce(nodes: Sequence[Node]) -> Finding:
    """One rank a node; two where there is one node."""
    places = list(nodes) if len(nodes) > 1 else [*nodes, *nodes]
    gpus = int(all(node.gpus >= places.count(node) for node in nodes))
    (port,) = ask(free_port, [Question(nodes[0])])
    shared = (len(places), nodes[0].address, port, gpus)
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
    where = "one a node" if len(nodes) > 1 else "on one node"
    sentence = f"{backend}, {len(places)} ranks, {where}: {min(answers) / 1e9:.2g} GB/s"
    return Finding("all-reduce", "ok", sentence)


def _busy(check: str) -> Finding:
    sentence = "not tried, since GPUs are held by others: see `ray status`, and ask again later"
    return Finding(check, "note", sentence)


def _storage(nodes: Sequence[Node], storage: str | None) -> list[Located]:
    if storage is None:
        if len(nodes) == 1:
            return [Located("", Finding("storage", "ok", "one node needs none but runs/"))]
        sentence = "none is named: give --storage, as training does, to see that all nodes reach it"
        return [Located("", Finding("storage", "note", sentence))]
    remedy = "give --storage a folder that all nodes mount and may write to, or an s3:// URL"
    # A new name, so that a folder of the same path on another disk isn't taken for it.
    folder = f"{storage}/doctor-{secrets.token_hex(4)}"
    try:
        make_folder(folder)
    except (OSError, ValueError) as error:
        sentence = f"{storage} can't be written to ({reason(error)}): {remedy}"
        return [Located("", Finding("storage", "wrong", sentence))]
    try:
        return _reached("storage", nodes, try_write, folder, remedy)
    finally:
        with suppress(OSError):
            drop_folder(folder)


def _tracking(nodes: Sequence[Node]) -> list[Located]:
    uri = tracking_uri()
    try:
        check_tracking()
    except ValueError as error:
        return [Located("", Finding("tracking", "wrong", str(error)))]
    if uri.startswith("sqlite:"):
        return [Located("", Finding("tracking", "ok", "a file of this machine"))]
    # Only the process that starts a job writes there.
    remedy = "start jobs on another node, or let this one reach the server"
    return _reached("tracking", nodes, check_tracking, uri, remedy, "note")


def _reached(
    check: str,
    nodes: Sequence[Node],
    function: Callable[[str], Any],
    where: str,
    remedy: str,
    otherwise: Verdict = "wrong",
) -> list[Located]:
    """Whether a function that raises where something isn't reached returns on each node."""
    found = []
    for node, answer in zip(
        nodes, ask(function, [Question(node, (where,)) for node in nodes]), strict=True
    ):
        finding = Finding(check, "ok", "reached")
        if isinstance(answer, Exception):
            finding = Finding(check, otherwise, f"not reached ({reason(answer)}): {remedy}")
        found.append(Located(node.name, finding))
    return found
