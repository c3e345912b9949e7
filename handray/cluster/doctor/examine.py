"""The examination of a cluster: what its nodes are asked, and what is told of the answers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from handray.cluster.decoding import store_share
from handray.cluster.doctor import judge
from handray.cluster.doctor.facts import Facts, gather
from handray.cluster.doctor.findings import Finding, Located, Verdict, lines
from handray.cluster.doctor.rounds import (
    arithmetic,
    clock,
    no_answer,
    reach_storage,
    reach_tracking,
    reached,
    reduction,
)
from handray.cluster.doctor.trials import see_data
from handray.cluster.nodes import Node, Question, alive, ask
from handray.data.files import Files
from handray.data.layout import list_split, no_images_error, read_class_names


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


def stages_of(data: DataSize | None) -> int:
    """Stages of an examination."""
    return 7 if data else 6


def examine(
    data: DataSize | None, size: int, storage: str | None, stage: Callable[[str], None]
) -> Iterator[list[Located]]:
    """Every check, as each is done, on all nodes at once.

    Args:
        data: what is to be trained on; None leaves out what depends on it.
        size: side of the model frame, pixels.
        storage: absolute path or URL that all nodes are to reach; None for this machine's own.
        stage: told what is under way, ``stages_of`` times at most.

    """
    stage("asking every node")
    nodes, ours = alive(), gather()
    answers = ask(gather, list(map(Question, nodes)))
    yield _judged(nodes, answers, lambda facts, node: _all_of_facts(facts, ours, node))
    nodes = [node for node, facts in zip(nodes, answers, strict=True) if isinstance(facts, Facts)]
    if not nodes:
        return
    stage("comparing clocks")
    yield [Located(node.name, clock(node)) for node in nodes]
    stage("computing on every node")
    yield arithmetic(nodes)
    stage("adding tensors up between nodes")
    yield [Located("", reduction(nodes))]
    if data:
        stage("reaching for the data")
        needed, room = store_share(data.images, data.classes, [size])
        yield [Located("", judge.store_room(needed, room))]
        yield reached("data", nodes, see_data, data.root, "mount that folder at the same path")
    stage("reaching for the storage")
    yield reach_storage(nodes, storage)
    stage("reaching for MLflow")
    yield reach_tracking(nodes)


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
    silent = [Located(n.name, no_answer(a)) for n, a in pairs if isinstance(a, Exception)]
    by_check: dict[str, list[Located]] = {}
    for node, facts in pairs:
        if isinstance(facts, Facts):
            for finding in judgement(facts, node):
                by_check.setdefault(finding.check, []).append(Located(node.name, finding))
    return silent + [found for check in by_check.values() for found in check]


def _only(verdict: Verdict, found: Sequence[Located]) -> list[Located]:
    return [one for one in found if one.finding.verdict == verdict]
