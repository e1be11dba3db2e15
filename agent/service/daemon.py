"""The agent: its threads, their supervision, their stop.

  start    parts made, outbox opened (delivery thread); persons left open by an unclean stop are ended, agent.start is
           told, the capture and vision threads begin: READY
  run      the supervisor sleeps on its inbox; once a second it feeds the watchdog, if every stage moves; else it says
           which does not, and asks the service manager for the end that brings every thread's stack into the journal
  stop     no more frames; open persons end (vision thread); agent.stop; stored and published for at most 5 s; goodbye

Foreseen failures at the start are MaskwatchErrors, one line and an exit code. A camera or a broker that is away never
ends the agent. A thread that dies of anything else ends the process with 1, without a goodbye: the service manager
starts it again, and that start ends the persons left open.
"""

import faulthandler
import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack

from agent import __version__
from agent.config import Loaded
from agent.delivery.complaint import Complaint
from agent.delivery.recovery import restart_ends
from agent.errors import MaskwatchError
from agent.events.state import CameraState, Command
from agent.events.types import AgentStart, AgentStop, Event
from agent.service.inbox import Commanded, Died, Inbox, Opened, Over, StopAsked
from agent.service.notice import NoticeBoard
from agent.service.notify import Notifier, watchdog_interval_s
from agent.service.pace import Pace
from agent.service.threads import (
    END_OF_MEDIUM,
    PUBLISH_AT_STOP_S,
    Capture,
    Deliver,
    Watch,
    capture,
    deliver,
    watch,
)
from agent.service.watchdog import Intervals
from agent.service.wiring import Parts, World, make_parts

_log = logging.getLogger(__name__)

_TICK_S = 1.0
_CAPTURE_STOP_S = 1.0  # a camera that does not answer may take its own time-out: it is left behind
_VISION_STOP_S = 5.0  # one frame on the slowest board takes 0.2 s
_DELIVERY_STOP_S = PUBLISH_AT_STOP_S + 5.0  # and a slow card's last commits
EXIT_FAULT = 1


class Daemon:
    """One run of the agent."""

    def __init__(self, loaded: Loaded, world: World) -> None:
        self._loaded = loaded
        self._world = world
        self._inbox = Inbox()
        self._notifier = Notifier(world.environ)
        self._notice = NoticeBoard(world.environ)
        self._watchdog_s = watchdog_interval_s(world.environ)
        self._intervals = Intervals.of(self._watchdog_s)
        self._hung = Complaint(_log, "watchdog.hung", world.clock)
        self._is_hung = False
        self._capture_stops = threading.Event()
        self._threads: list[threading.Thread] = []
        self._threads_lock = threading.Lock()  # the delivery thread spawns connections
        self._delivery_stops = threading.Event()
        self._goodbye: str | None = None
        self._line = ""
        self._said: tuple[CameraState, str] | None = None

    def stop(self, reason: str) -> None:
        """Ask for an orderly end; from any thread or signal handler."""
        self._inbox.put(StopAsked(reason=reason))

    @property
    def hanging(self) -> list[threading.Thread]:
        """The threads that have begun and not ended; after `run`, those that a device or a network holds."""
        return [thread for thread in self._threads if thread.is_alive()]

    def run(self) -> int:
        """Watch until stopped. Returns the exit code.

        Raises MaskwatchError for what is foreseen to fail at the start: a model, a medium, a file, the outbox.
        """
        with ExitStack() as stack:
            bound_s = self._intervals.bound_s
            parts = make_parts(self._loaded, self._world, self._inbox, self._connect, stack, bound_s=bound_s)
            deliverer, opened = self._open_outbox(parts)
            watcher = self._begin(parts, opened)
            return self._end(parts, self._supervise(parts, opened), opened, watcher, deliverer)

    def _open_outbox(self, parts: Parts) -> tuple[threading.Thread, Opened]:
        """Start the delivery thread and wait for its outbox. Raises what opening it raises."""
        work = Deliver(
            make=parts.make_delivery,
            stage=parts.progress.delivery,
            stopping=self._delivery_stops,
            goodbye=lambda: self._goodbye,
        )
        thread = self._spawn("delivery", lambda: deliver(work, self._inbox))
        early: list[StopAsked] = []
        while True:
            match self._inbox.take(_TICK_S):
                case Opened() as opened:
                    for stop in early:
                        self._inbox.put(stop)
                    return thread, opened
                case Died(error=error):
                    raise error
                case StopAsked() as stop:
                    early.append(stop)

    def _begin(self, parts: Parts, opened: Opened) -> threading.Thread:
        """Tell of the start, then let frames come. Returns the vision thread."""
        clock = self._world.clock
        now_ns = clock.now_ns()
        parts.progress.begin(now_ns)  # an outbox may take its time to open, and nobody hangs meanwhile
        parts.hand_over.put([*restart_ends(opened.open_persons, now_ns), self._started(parts, opened, now_ns)])
        live = parts.camera.live
        watching = Watch(
            slot=parts.slot,
            pipeline=parts.pipeline,
            hand_over=parts.hand_over,
            stage=parts.progress.vision,
            clock=clock,
            live=live,
        )
        capturing = Capture(
            camera=parts.camera,
            slot=parts.slot,
            pace=None if live else Pace(clock),
            stage=parts.progress.camera,
            report=parts.camera_report,
            clock=clock,
            stopping=self._capture_stops,
            read_timeout_s=max(2.0, 3 / self._loaded.settings.camera.fps),  # a slow camera is not a lost one
        )
        watcher = self._spawn("vision", lambda: watch(watching))
        self._spawn("capture", lambda: capture(capturing, self._inbox))
        _log.info(
            "agent.start version=%s stream=%s previous_stop=%s left_open=%d source=%r",
            __version__,
            opened.stream,
            opened.previous_stop,
            len(opened.open_persons),
            parts.camera.describe(),
        )
        self._line = parts.reporter.line()
        self._notifier.ready(self._line)
        return watcher

    def _connect(self, task: Callable[[], None]) -> None:
        self._spawn("connect", task)

    def _spawn(self, name: str, story: Callable[[], None]) -> threading.Thread:
        """Run a story in a thread that the process does not wait for; its death is news."""

        def tell() -> None:
            try:
                story()
            except Exception as error:
                self._inbox.put(Died(thread=name, error=error))

        thread = threading.Thread(target=tell, name=name, daemon=True)
        thread.start()
        with self._threads_lock:
            self._threads = [*self.hanging, thread]  # connections come and go for months
        return thread

    def _supervise(self, parts: Parts, opened: Opened) -> StopAsked | Over | Died:
        """Answer commands and feed the watchdog until something ends the run."""
        while True:
            news = self._inbox.take(self._intervals.look_s)
            match news:
                case StopAsked() | Over() | Died():
                    return news
                case Commanded(request=request):
                    answer = parts.commands.answer(request.command)
                    opened.delivery.reply(request, ok=answer.ok, message=answer.message, result=answer.result)
            self._tick(parts, opened)

    def _tick(self, parts: Parts, opened: Opened) -> None:
        """Feed the watchdog if every stage moves; tell what has changed."""
        hung = parts.progress.look(self._world.clock.now_ns())
        said = parts.reporter.camera_state()
        if said != self._said:
            self._said = said
            opened.delivery.say(camera=said[0], reason=said[1])
        line = f"hung: {', '.join(hung)}" if hung else parts.reporter.line()
        if line != self._line:
            self._line = line
            self._notifier.status(line)
        self._judge_progress(hung)
        if self._notice.is_there:
            diagnosis = parts.commands.answer(Command(command="diag")).result
            self._notice.post(diagnosis, self._world.clock.now_ns())

    def _judge_progress(self, hung: list[str]) -> None:
        """Feed the watchdog, or ask it to bite at once: waiting for it would double the time that nobody is counted."""
        if not hung:
            self._hung.over()
            self._is_hung = False
            self._notifier.watchdog()
            return
        self._hung.failing(", ".join(hung))
        if self._watchdog_s is not None:
            self._notifier.trigger()  # SIGABRT, and with it the stacks (process.py)
        elif not self._is_hung:
            faulthandler.dump_traceback(all_threads=True)
        self._is_hung = True

    def _end(
        self,
        parts: Parts,
        cause: StopAsked | Over | Died,
        opened: Opened,
        watcher: threading.Thread,
        deliverer: threading.Thread,
    ) -> int:
        """Stop in order; after a fault without a word of ours. Returns the exit code."""
        reason, code, in_order = _judge(cause)
        _log.info("agent.stop reason=%r", reason)
        self._notifier.stopping(reason)
        self._notice.take_down()
        self._capture_stops.set()
        if not isinstance(cause, Over):  # at the end of a medium vision works on its last frame, and stops by itself
            parts.slot.stop(reason)
        watcher.join(_VISION_STOP_S)
        if watcher.is_alive():
            _log.error("vision.hung at=stop")
            in_order = False
        if in_order:
            parts.hand_over.put([self._stopped(parts, opened, reason)])
            self._goodbye = reason
        self._delivery_stops.set()
        parts.hand_over.wake()
        deliverer.join(_DELIVERY_STOP_S)
        if deliverer.is_alive():
            _log.error("delivery.hung at=stop")
            in_order = False
        if not (watcher.is_alive() or deliverer.is_alive()):
            parts.hand_over.close()
        for thread in self._threads:
            if thread.name == "capture":
                thread.join(_CAPTURE_STOP_S)
        return code if in_order or code else EXIT_FAULT

    def _started(self, parts: Parts, opened: Opened, now_ns: int) -> Event:
        by = "the service manager" if "NOTIFY_SOCKET" in self._world.environ else "hand"
        data = AgentStart(
            version=__version__,
            classifier_sha256=parts.classifier_sha256,
            detector_sha256=parts.detector_sha256,
            config_digest=self._loaded.digest,
            reason=f"started by {by}",
            previous_stop=opened.previous_stop,
        )
        return Event(at_ns=now_ns, data=data)

    def _stopped(self, parts: Parts, opened: Opened, reason: str) -> Event:
        data = AgentStop(
            version=__version__,
            classifier_sha256=parts.classifier_sha256,
            detector_sha256=parts.detector_sha256,
            config_digest=self._loaded.digest,
            reason=reason,
            previous_stop=opened.previous_stop,
        )
        return Event(at_ns=self._world.clock.now_ns(), data=data)


def _judge(cause: StopAsked | Over | Died) -> tuple[str, int, bool]:
    """Give the reason to tell, the exit code, and whether the stop is one in order; say what went wrong."""
    if isinstance(cause, StopAsked):
        return cause.reason, cause.exit_code, True
    if isinstance(cause, Over):
        if cause.damage is None:
            return END_OF_MEDIUM, 0, True
        _log.error("%s", cause.damage)
        return END_OF_MEDIUM, cause.damage.exit_code, True
    if cause.thread == "capture" and isinstance(cause.error, MaskwatchError):  # no right to the device: we are well
        _log.error("%s", cause.error)
        return "camera may not be used", cause.error.exit_code, True
    _log.error("agent.fault thread=%s", cause.thread, exc_info=cause.error)
    return f"fault in {cause.thread}", EXIT_FAULT, False
