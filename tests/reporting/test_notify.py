import argparse
import socket
import traceback

import pytest
from webhooks import SECRET, receiving

from handray.reporting import notify
from handray.reporting.notify import Alarms, Webhook


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(notify, "PAUSES", (0.0, 0.0, 0.0))


def told(url: str, *texts: str) -> None:
    with Alarms(Webhook(url), "train_kfold demo") as alarms:
        for text in texts:
            alarms.tell(text)


def test_messages_arrive_in_order_with_the_job_and_the_run(capsys):
    with receiving() as server:
        told(server.url, "starts", "fold 0 finished", "done")
    heads, texts = zip(*(text.split(": ", 1) for text in server.texts), strict=True)
    assert texts == ("starts", "fold 0 finished", "done")
    assert all(head.startswith("train_kfold demo on ") for head in heads)
    assert capsys.readouterr() == ("", "")


def test_what_slack_would_read_as_a_link_is_escaped():
    with receiving() as server:
        told(server.url, "class <b> & more")
    assert server.texts[0].endswith("class &lt;b&gt; &amp; more")


def test_telling_does_not_wait_for_a_server_that_hangs():
    with receiving() as server:
        server.may_answer.clear()
        with Alarms(Webhook(server.url), "job") as alarms:
            alarms.tell("one")
            alarms.tell("two")  # this thread gets here although nobody has answered
            server.may_answer.set()
    assert [text[-3:] for text in server.texts] == ["one", "two"]


def test_a_refusal_is_tried_again():
    with receiving(500, 503, 200) as server:
        told(server.url, "only once")
    assert len(server.texts) == 3


def test_messages_that_nobody_takes_are_one_warning_without_the_address(capsys):
    with receiving(500) as server:
        told(server.url, "one", "two", "three")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("warning: --notify: a message could not be sent (the server answers")
    assert "500" in said.err and "127.0.0.1" not in said.err and SECRET not in said.err


def test_an_address_that_is_revoked_is_not_tried_again():
    with receiving(404) as server:
        told(server.url, "one")
    assert len(server.texts) == 1


def test_a_server_that_never_answers_is_a_warning_and_the_job_ends(capsys, monkeypatch):
    monkeypatch.setattr(notify, "ANSWER_SECONDS", 0.1)
    with receiving() as server:
        server.may_answer.clear()
        told(server.url, "one", "two")
    assert capsys.readouterr().err.count("no answer in 0.1 s") == 1


def test_a_job_does_not_wait_for_ever_at_its_end(capsys, monkeypatch):
    monkeypatch.setattr(notify, "FAREWELL_SECONDS", 0.1)
    with receiving() as server:
        server.may_answer.clear()
        told(server.url, "one")
        assert "the server is too slow" in capsys.readouterr().err


def test_a_closed_port_is_a_warning(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    told(f"http://127.0.0.1:{port}/{SECRET}", "one")
    err = capsys.readouterr().err
    assert "(Connection refused)" in err and SECRET not in err


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("the disk is full"), "failed: the disk is full"),
        (RuntimeError(), "failed: RuntimeError"),
        (KeyboardInterrupt(), "stopped; the same command goes on"),
    ],
)
def test_an_error_that_ends_the_job_is_told_and_goes_on(error, text):
    with receiving() as server, pytest.raises(type(error)), Alarms(Webhook(server.url), "job"):
        raise error
    assert [told.split(": ", 1)[1] for told in server.texts] == [text]


def test_without_an_address_nobody_is_told_and_no_thread_runs():
    with Alarms(None, "job") as alarms:
        alarms.tell("one")
        assert not alarms._thread.is_alive()


@pytest.mark.parametrize(
    "url",
    [
        f"hooks.example.com/{SECRET}",
        f"ftp://hooks.example.com/{SECRET}",
        f"http:///{SECRET}",
        f"http://host:99999/{SECRET}",
        f"http://host:port/{SECRET}",
        f"http://host/{SECRET} x",
        f"http://host/{SECRET}\n",
        f"http://host/{SECRET}é",
        f"http://me:{SECRET}@host/",
        f"http://[{SECRET}",
    ],
)
def test_a_wrong_address_is_refused_without_being_shown(url):
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        Webhook(url)
    shown = "".join(traceback.format_exception(refused.value))
    assert "neither http:// nor https://" in str(refused.value)
    assert SECRET not in shown


def test_an_address_is_not_in_what_is_printed_of_it():
    hook = Webhook(f"https://hooks.example.com/{SECRET}")
    assert SECRET not in f"{hook} {hook!r} {argparse.Namespace(notify=hook)}"
