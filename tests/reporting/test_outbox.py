"""Messages that wait for a server."""

from itertools import count

from handray.reporting.outbox import Outbox


def outbox() -> Outbox:
    return Outbox("the server", lambda error: isinstance(error, KeyError), pause=0.01)


def failing(times: float, error: Exception, log: list[str], name: str):
    tries = count()

    def send() -> None:
        if next(tries) < times:
            raise error
        log.append(name)

    return send


def test_messages_come_in_order_once_the_server_is_back(capsys):
    log: list[str] = []
    box = outbox()
    box.put("a", failing(3, OSError("refused"), log, "a"))
    box.put("b", failing(0, OSError(), log, "b"))
    assert box.settle(patience=60) == ()
    assert log == ["a", "b"]
    said = capsys.readouterr().err
    assert said.count("warning: the server takes nothing (refused); the work goes on") == 1
    assert "the server is back after " in said


def test_what_a_server_that_stays_away_has_not_got_is_named_once():
    log: list[str] = []
    box = outbox()
    for name in ("a", "b", "b"):
        box.put(name, failing(float("inf"), OSError("refused"), log, name))
    assert box.settle(patience=0.1) == ("a", "b")
    assert log == []


def test_a_message_that_would_never_be_taken_holds_up_no_other():
    log: list[str] = []
    box = outbox()
    box.put("a", failing(float("inf"), KeyError("no such run"), log, "a"))
    box.put("b", failing(0, OSError(), log, "b"))
    assert box.settle(patience=60) == ("a",)
    assert log == ["b"]
