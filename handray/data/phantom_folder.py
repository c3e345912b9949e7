"""A folder of phantoms, laid out as the competition's data.

    OUT/train/DCM/ID001/image1661130828152_R.png    OUT/train/outputs_json/ID001/<same name>.json
    OUT/test/DCM/ID025/image1661132028152.png       OUT/truth/outputs_json/ID025/<same name>.json

Two films a person: by name, the right hand is first. `phantoms.json` holds the arguments and
whether the drawing is complete, so that the same call finishes what was interrupted.
"""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from handray.data.phantom import SIDES, check_size
from handray.data.phantom_files import Film, draw_film, sweep
from handray.whole_files import write_text

RECORD = "phantoms.json"
VERSION = 1  # of what is drawn: a folder of another version is another drawing
BENT_SHARE = {"train": 0.1, "test": 0.6}
FIRST_STEM = 1661130828152
STEMS_A_PERSON = 50_000
POOL_PIXELS = 8 * 2048**2  # below that, processes take longer to start than to draw

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Drawing:
    """All that decides what is in the folder; size in px."""

    people: int
    test_people: int
    size: int
    seed: int
    version: int = VERSION

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.people < 1:
            raise ValueError(f"people must be at least 1, got {self.people}; try 24")
        if self.test_people < 0:
            raise ValueError(f"test people can't be negative, got {self.test_people}; try 6")
        if self.seed < 0:
            raise ValueError(f"the seed can't be negative, got {self.seed}; try 0")


def draw_folder(
    out: Path, people: int, test_people: int, size: int, seed: int, progress: Progress | None = None
) -> bool:
    """Draw the folder, or finish it, on all cores; False if it was complete already.

    `progress(done, films)` is called after each film. What is drawn doesn't depend on the number of
    cores. Raises ValueError if an argument is out of range or `out` holds something else. Beyond a
    few films it starts processes, so the calling script needs its `if __name__ == "__main__"`.
    """
    drawing = Drawing(people, test_people, size, seed)
    if _is_complete(out, drawing):
        return False
    _write_record(out, drawing, complete=False)
    sweep(out)
    every = list(films(out, drawing))
    todo = [film for film in every if not film.is_drawn()]
    try:
        with closing(_draw(todo)) as drawn:  # so that no worker outlives an interruption
            for done, _ in enumerate(drawn, len(every) - len(todo) + 1):
                if progress:
                    progress(done, len(every))
    finally:
        sweep(out)
    _write_record(out, drawing, complete=True)
    return True


def films(out: Path, drawing: Drawing) -> Iterator[Film]:
    """Every film of the folder, people in order, right hand first."""
    for person in range(drawing.people + drawing.test_people):
        trains = person < drawing.people
        split, labels = ("train", "train") if trains else ("test", "truth")
        bent = _is_bent(split, person if trains else person - drawing.people)
        folder = f"ID{person + 1:03d}"
        for side in SIDES:
            stem = _stem(person, side)
            image_path = out / split / "DCM" / folder / f"{stem}.png"
            label_path = out / labels / "outputs_json" / folder / f"{stem}.json"
            yield Film(image_path, label_path, drawing.seed, person, side, drawing.size, bent)


def _is_bent(split: str, place: int) -> bool:
    """Whether the person at this place of the split has bent wrists; any prefix has its share."""
    share = BENT_SHARE[split]
    return int((place + 1) * share + 0.5) > int(place * share + 0.5)


def _stem(person: int, side: str) -> str:
    hand = SIDES.index(side)
    number = FIRST_STEM + STEMS_A_PERSON * person + STEMS_A_PERSON // 2 * hand
    if person == 0:  # as in the competition, where only the first person's names tell the side
        return f"image{number}_{side[0].upper()}"
    return f"image{number + int(np.random.default_rng([person, hand]).integers(25_000))}"


def _is_complete(out: Path, drawing: Drawing) -> bool:
    """Whether `out` holds all of this drawing; raises ValueError if it holds anything else."""
    record, wanted = out / RECORD, asdict(drawing)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, not a folder; choose another folder")
    if not record.exists():
        if out.exists() and any(out.iterdir()):
            raise ValueError(f"{out} already holds other files; choose an empty or a new folder")
        return False
    try:
        found = dict(json.loads(record.read_text()))
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{record} can't be read; delete {out} or choose another") from None
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        other = "; ".join(f"{key} {found.get(key)}, not {wanted[key]}" for key in differing)
        raise ValueError(f"{out} holds another drawing ({other}); delete it or choose another")
    return bool(found.get("complete"))


def _write_record(out: Path, drawing: Drawing, complete: bool) -> None:
    text = json.dumps(asdict(drawing) | {"complete": complete}, indent=1)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / RECORD, text)


def _draw(todo: list[Film]) -> Generator[None, None, None]:
    processes = min(_cores(), len(todo))
    if processes < 2 or sum(film.size**2 for film in todo) < POOL_PIXELS:
        yield from map(draw_film, todo)
        return
    # Not forked: the caller may hold threads of Ray or PyTorch, which don't survive a fork.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _become_a_worker)
    try:
        for finished in as_completed([pool.submit(draw_film, film) for film in todo]):
            yield finished.result()
    except BrokenProcessPool:
        raise RuntimeError(
            "a drawing process died: out of memory, or the calling script lacks its "
            'if __name__ == "__main__"; the same call goes on'
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _become_a_worker() -> None:
    """One core each; Ctrl-C is the parent's, which lets the films in hand be finished."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
