"""What is said about the present, beside the events: status with its will, discovery, telemetry, answers.

Nothing here waits on the disk: what cannot be said now is not worth saying later, so only the newest is kept.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import UNSET

from agent.clock import NS_PER_S, Clock
from agent.delivery import discovery
from agent.delivery.link import Message
from agent.delivery.topics import Identity
from agent.events.envelope import timestamp
from agent.events.state import CameraState, Status, Telemetry
from agent.settings import ReportSettings

_CONTENT_TYPE = "application/json"
_STATUS_EVERY_NS = 1 * NS_PER_S  # a state that flutters is told once a second
_INTRODUCED_NS = 10 * NS_PER_S  # as long as an event may stay unanswered
# A topic that the access list withholds is left alone for so long: mosquitto 2.0.11 closes the connection after each
# refusal, and a Home Assistant topic that nobody granted must not keep the events from getting through.
_REFUSED_NS = 3600 * NS_PER_S
_ANSWERS_MAX = 64  # who asks more at once than this does not read the answers


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far the events are: the stream, all of it up to `acknowledged` done, `backlog` events still to be."""

    stream: str
    acknowledged: int
    backlog: int


class Presence:
    """Knows what is due. `say` and `answer` are for any thread, the rest is for the delivery thread."""

    def __init__(
        self,
        identity: Identity,
        *,
        report: ReportSettings,
        insecure: bool,
        clock: Clock,
        telemetry: Callable[[], Telemetry | None],
    ) -> None:
        self._identity = identity
        self._report = report
        self._insecure = insecure
        self._clock = clock
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._camera: CameraState | None = None
        self._reason = ""
        self._answers: deque[Message] = deque(maxlen=_ANSWERS_MAX)
        self._told: tuple[CameraState | None, str] | None = None  # what the last status said
        self._telling: tuple[CameraState | None, str] | None = None  # what the next one is to say
        self._told_ns = 0
        self._discovery_due = False
        self._telemetry_ns = 0
        self._refused_until_ns: dict[str, int] = {}  # by topic
        self.is_introduced = False
        """The broker has answered status and discovery, which go one by one and before any event."""
        self.introduced_by_ns = 0

    def say(self, *, camera: CameraState | None, reason: str | None) -> None:
        """Set what the status is to say. None: as before."""
        with self._lock:
            self._camera = self._camera if camera is None else camera
            self._reason = self._reason if reason is None else reason

    def answer(self, message: Message) -> None:
        """Send an answer as soon as there is a connection; the oldest go when too many wait."""
        with self._lock:
            self._answers.append(message)

    @property
    def has_answers(self) -> bool:
        """Whether answers wait to be sent."""
        return bool(self._answers)

    def connected(self) -> None:
        """Begin anew: the broker may have forgotten everything."""
        self._told = None
        self._discovery_due = True
        self._telemetry_ns = self._clock.now_ns()
        self.is_introduced = False
        self.introduced_by_ns = self._clock.now_ns() + _INTRODUCED_NS

    def introduce(self, *, all_answered: bool) -> bool:
        """Tell whether events may go now that `due` was asked and this is the state of the answers.

        A broker that refuses a topic may hang up, and its refusal is read only if nothing was sent into the closed
        socket meanwhile: hence one by one.
        """
        self.is_introduced = self.is_introduced or all_answered
        return self.is_introduced

    def refused(self, topic: str) -> None:
        """Leave a topic alone for a while."""
        self._refused_until_ns[topic] = self._clock.now_ns() + _REFUSED_NS

    def home_assistant_started(self) -> None:
        """Tell Home Assistant about the device again."""
        self._discovery_due = True

    def due_ns(self, *, room: int) -> int:
        """When to ask again, if nothing is said or answered before."""
        if room > 0 and self._telling is not None and self._telling != self._told:
            return min(self._telemetry_ns, self._told_ns + _STATUS_EVERY_NS)
        return self._telemetry_ns

    def due(self, *, session: int, standing: Standing, trouble: str, room: int) -> list[Message]:
        """Give what is to be published now, at most `room` messages of QoS 1.

        trouble: what delivery itself has to say in the status, where nobody else gives a reason.
        """
        now_ns = self._clock.now_ns()
        messages: list[Message] = []
        with self._lock:
            self._telling = camera, reason = self._camera, self._reason or trouble
            rested = self._told is None or now_ns - self._told_ns >= _STATUS_EVERY_NS
            if room > 0 and self._telling != self._told and rested:
                messages.append(self._status("online", session, camera=camera, reason=reason, standing=standing))
                self._told, self._told_ns = self._telling, now_ns
            while self._answers and len(messages) < room:
                messages.append(self._answers.popleft())
        if self._discovery_due and len(messages) < room:
            messages.append(discovery.document(self._identity, wanted=self._report.discovery))
            self._discovery_due = False
        if now_ns >= self._telemetry_ns:
            self._telemetry_ns = now_ns + int(self._report.telemetry_every_s * NS_PER_S)
            telemetry = self._telemetry()
            if telemetry is not None:
                payload = msgspec.json.encode(telemetry)
                messages.append(
                    Message(topic=self._identity.telemetry, payload=payload, qos=0, content_type=_CONTENT_TYPE)
                )
        return [message for message in messages if now_ns >= self._refused_until_ns.get(message.topic, 0)]

    def will(self, session: int) -> Message:
        """Make what the broker is to say when this connection breaks; its time is nobody's to know."""
        return self._status("offline", session, reason="connection lost")

    def goodbye(self, session: int, *, reason: str, standing: Standing) -> Message:
        """Make the last status of an orderly stop."""
        return self._status("offline", session, reason=reason, standing=standing)

    def _status(
        self,
        state: Literal["online", "offline"],
        session: int,
        *,
        camera: CameraState | None = None,
        reason: str = "",
        standing: Standing | None = None,
    ) -> Message:
        timed = standing is not None and self._clock.trusted()
        status = Status(
            state=state,
            session=session,
            version=self._identity.version,
            camera=UNSET if camera is None else camera,
            reason=reason[:120] if reason else UNSET,
            backlog=UNSET if standing is None else standing.backlog,
            stream=UNSET if standing is None else standing.stream,
            acknowledged=UNSET if standing is None else standing.acknowledged,
            insecure=True if self._insecure else UNSET,
            time=timestamp(self._clock.wall_ns()) if timed else UNSET,
        )
        payload = msgspec.json.encode(status)
        return Message(topic=self._identity.status, payload=payload, qos=1, retain=True, content_type=_CONTENT_TYPE)
