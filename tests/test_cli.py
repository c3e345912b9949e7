"""run_job: exit codes and sentences."""

import pytest

from handray.cli import Parser, run_job


def raiser(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize("value, code", [(None, 0), (0, 0), (3, 3)])
def test_a_jobs_value_is_its_exit_code(value, code):
    with pytest.raises(SystemExit) as left:
        run_job(lambda: value)
    assert left.value.code == code


@pytest.mark.parametrize(
    "error, code, said",
    [
        (ValueError("no members"), 2, "error: no members\n"),
        (
            OSError(28, "No space left on device", "o.csv"),
            2,
            "error: o.csv: No space left on device\n",
        ),
        (OSError("no route"), 2, "error: no route\n"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on\n"),
    ],
)
def test_mistakes_are_one_sentence(error, code, said, capsys):
    with pytest.raises(SystemExit) as left:
        run_job(raiser(error))
    assert left.value.code == code
    assert capsys.readouterr().err == said


def test_our_own_mistakes_keep_their_traceback():
    with pytest.raises(KeyError):
        run_job(raiser(KeyError("x")))


def test_a_traceback_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("HANDRAY_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no members"):
        run_job(raiser(ValueError("no members")))


def test_a_wrong_command_line_is_a_value_error():
    with pytest.raises(ValueError, match="unrecognized arguments: --x; see --help"):
        Parser().parse_args(["--x"])
