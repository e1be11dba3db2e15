"""A delivery in a process of its own, made to be killed: `python -m tests.integration.delivery_process DIR URL FIRST`.

Hands over numbered events from FIRST on, a few at a time, without end, and prints each number once it is in the
hand-over: what was printed may be lost by a kill (it was in memory); what the outbox has taken may not.
"""

import random
import sys
from pathlib import Path

from agent.clock import SystemClock, boot_id, new_id
from agent.delivery.delivery import Delivery
from agent.delivery.handover import HandOver
from agent.delivery.mqtt import MqttLink
from agent.delivery.outbox import Outbox
from agent.settings import MqttSettings, ReportSettings
from tests.delivery_parts import IDENTITY, counted
from tests.real import spawn


def main(directory: str, url: str, first: str) -> None:
    clock = SystemClock()
    outbox = Outbox.open(Path(directory), clock=clock, new_id=new_id, boot_id=boot_id(), quota_mb=8.0)
    settings = MqttSettings(url=url)
    hand_over = HandOver()
    delivery = Delivery(
        identity=IDENTITY,
        mqtt=settings,
        report=ReportSettings(),
        hand_over=hand_over,
        outbox=outbox,
        link=MqttLink(settings, client_id="cam1", spawn=spawn, environ={}),
        clock=clock,
        rng=random.Random(),
        telemetry=lambda: None,
        frames_coming=lambda: False,
    )
    number = int(first)
    while True:
        if delivery.figures.waiting == 0:
            hand_over.put([counted(number + more, clock.now_ns()) for more in range(3)])
            number += 3
        delivery.step(0.005)
        print(outbox.last_sequence, delivery.figures.acknowledged, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
