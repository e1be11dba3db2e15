"""The slot between camera and vision: what is waited for, what is given up, and that every wait ends in a value."""

import threading

import numpy as np
import pytest

from agent.seams import Frame, Silence, Stop
from agent.service.slot import FrameSlot
from tests.unit.service_clock import TestClock

_PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(index: int) -> Frame:
    return Frame(pixels=_PIXELS, captured_ns=index, index=index)


def slot(*, every_frame: bool) -> FrameSlot:
    return FrameSlot(TestClock(), every_frame=every_frame)


def test_a_live_camera_replaces_the_frame_that_nobody_took() -> None:
    live = slot(every_frame=False)
    assert all(live.put(frame(index), 0) for index in range(3))
    assert next(live.messages(0)) == frame(2)


def test_a_medium_keeps_its_frame_until_the_one_before_is_taken() -> None:
    medium = slot(every_frame=True)
    assert medium.put(frame(0), 0)
    assert not medium.put(frame(1), 0)
    messages = medium.messages(0)
    assert next(messages) == frame(0)
    assert medium.put(frame(1), 0)
    assert next(messages) == frame(1)


def test_every_frame_of_a_medium_arrives_in_order_however_the_threads_race() -> None:
    medium = slot(every_frame=True)
    count = 500

    def feed() -> None:
        for index in range(count):
            while not medium.put(frame(index), 1):
                pass
        medium.end("over")

    feeder = threading.Thread(target=feed)
    feeder.start()
    got = [message for message in medium.messages(5) if not isinstance(message, Silence)]
    feeder.join()
    assert [message.index for message in got[:-1] if isinstance(message, Frame)] == list(range(count))
    assert got[-1] == Stop(reason="over")


def test_nothing_in_time_is_a_silence_since_the_last_frame() -> None:
    clock = TestClock(now_ns=5)
    live = FrameSlot(clock, every_frame=False)
    messages = live.messages(0)
    assert next(messages) == Silence(since_ns=5, why="no frame in time")
    clock.sleep(1)
    live.put(frame(0), 0)
    assert next(messages) == frame(0)
    assert next(messages) == Silence(since_ns=1_000_000_005, why="no frame in time")


def test_the_cameras_own_silence_says_why_but_never_hides_a_frame() -> None:
    live = slot(every_frame=False)
    lost = Silence(since_ns=0, why="unplugged")
    messages = live.messages(0)
    live.put(lost, 0)
    assert next(messages) == lost
    live.put(frame(1), 0)
    live.put(lost, 0)
    assert next(messages) == frame(1)


def test_a_stop_outranks_a_frame_and_ends_the_messages() -> None:
    live = slot(every_frame=False)
    live.put(frame(0), 0)
    live.stop("SIGTERM")
    assert list(live.messages(60)) == [Stop(reason="SIGTERM")]


def test_the_end_of_a_medium_comes_after_its_last_frame() -> None:
    medium = slot(every_frame=True)
    medium.put(frame(0), 0)
    medium.end("over")
    assert list(medium.messages(60)) == [frame(0), Stop(reason="over")]


def test_an_end_does_not_take_back_a_stop() -> None:
    medium = slot(every_frame=True)
    medium.stop("SIGTERM")
    medium.end("over")
    assert list(medium.messages(60)) == [Stop(reason="SIGTERM")]


@pytest.mark.parametrize("every_frame", [True, False])
def test_nobody_waits_for_a_stopped_slot(every_frame: bool) -> None:
    stopped = slot(every_frame=every_frame)
    stopped.put(frame(0), 0)
    stopped.stop("SIGTERM")
    assert stopped.put(frame(1), 60)


def test_a_stop_wakes_both_sides() -> None:
    medium = slot(every_frame=True)
    medium.put(frame(0), 0)
    done: list[object] = []
    threads = [
        threading.Thread(target=lambda: done.append(medium.put(frame(1), 60))),
        threading.Thread(target=lambda: done.append(list(slot_of_its_own.messages(60)))),
    ]
    slot_of_its_own = slot(every_frame=True)
    for thread in threads:
        thread.start()
    medium.stop("SIGTERM")
    slot_of_its_own.stop("SIGTERM")
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert len(done) == 2
