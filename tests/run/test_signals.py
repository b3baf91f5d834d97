from __future__ import annotations

import os
import signal

import pytest

from sdcaffe.run.signals import SignalHandler

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP on this system")


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_ctrl_c_stops_and_a_hangup_snapshots() -> None:
    with SignalHandler() as signals:
        check = signals.listener()
        assert check() is None
        send(signal.SIGHUP)
        assert check() == "snapshot"
        assert check() is None
        send(signal.SIGINT)
        assert check() == "stop"
        assert check() is None


def test_the_effects_can_be_chosen() -> None:
    with SignalHandler("snapshot", "none") as signals:
        check = signals.listener()
        send(signal.SIGHUP)
        assert check() is None
        for _ in range(3):
            send(signal.SIGINT)
        assert check() == "snapshot"
        assert check() is None


def test_both_are_kept_until_asked_for() -> None:
    with SignalHandler() as signals:
        check = signals.listener()
        send(signal.SIGHUP)
        send(signal.SIGINT)
        assert [check(), check(), check()] == ["snapshot", "stop", None]


def test_every_solver_hears_of_it() -> None:
    with SignalHandler() as signals:
        one, other = signals.listener(), signals.listener()
        send(signal.SIGHUP)
        assert [one(), one(), other(), other()] == ["snapshot", None, "snapshot", None]


@pytest.mark.parametrize("asked", [False, True])
def test_a_second_ctrl_c_ends_at_once(asked: bool) -> None:
    with SignalHandler() as signals:
        check = signals.listener()
        send(signal.SIGINT)
        if asked:
            assert check() == "stop"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)
    with SignalHandler():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)) == before
