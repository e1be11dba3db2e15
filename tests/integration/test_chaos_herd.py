"""A small herd at the shipped broker: agents that come back, all at once or spread."""

import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from agent.events.state import Status
from tests.integration.shipped_mosquitto import Client, ShippedMosquitto, TestAuthority
from tests.real import WITHIN_S, need, running, wait_for
from tools.chaos.herd import Herd, Round, main, measure
from tools.chaos.herd_member import Orders
from tools.chaos.leftovers import Leftovers


@pytest.fixture
def leftovers(tmp_path: Path) -> Leftovers:
    need("mosquitto", "mosquitto")
    return Leftovers(tmp_path / "left")


def test_fifty_agents_come_back_and_jitter_is_what_spreads_them(leftovers: Leftovers, tmp_path: Path) -> None:
    with leftovers:
        (spread,), (together,) = (
            measure(leftovers, tmp_path / name, agents=50, aways_s=[0.0], jitter=jitter)
            for name, jitter in (("spread", True), ("together", False))
        )

    assert (spread.back, together.back) == (50, 50)
    assert spread.attempts_peak_100ms < together.attempts_peak_100ms


def test_one_of_the_herd_says_to_the_broker_what_an_agent_says_first(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path / "ca")
    certificate, key = authority.issue("board-0000")
    operator = authority.issue("operator", "operator")
    home = authority.issue("homeassistant", "homeassistant")
    papers = tmp_path / "papers"
    papers.mkdir()
    for name, source in (("ca.pem", authority.ca), ("board-0000.pem", certificate), ("board-0000.key", key)):
        (papers / name).write_bytes(source.read_bytes())
    status = "maskwatch/herd/board-0000/status"
    discovery = "homeassistant/device/board-0000/config"
    herd = Herd()
    with (
        ShippedMosquitto(tmp_path / "broker", authority) as broker,
        Client(broker, authority.ca, operator, topics=("maskwatch/#",)) as people,
        Client(broker, authority.ca, home, topics=("homeassistant/#",)) as assistant,
    ):
        orders = Orders(port=broker.port, papers=str(papers), first=0, count=1, seed=1, jitter=True, gather_s=0.0)
        command = [sys.executable, "-m", "tools.chaos.herd_member", msgspec.json.encode(orders).decode()]
        with running(command, stdout=subprocess.PIPE) as member:
            assert member.stdout is not None
            pipe = member.stdout
            reader = threading.Thread(target=lambda: herd.listen(pipe))
            reader.start()
            wait_for(lambda: len(people.got(status)) == 1, what="the status")
            wait_for(lambda: bool(assistant.got(discovery)), what="the discovery")
            wait_for(lambda: herd.connected == 1, what="the member's own word")
            member.kill()
            reader.join(WITHIN_S)
        wait_for(lambda: len(people.got(status)) == 2, what="the will")
        told = [msgspec.json.decode(payload, type=Status).state for payload in people.got(status)]
        with Client(broker, authority.ca, operator, topics=(status,)) as late:
            wait_for(lambda: bool(late.got(status)), what="the retained status")
    assert told == ["online", "offline"]
    assert "cmps" in msgspec.json.decode(assistant.got(discovery)[0])


def test_the_command_prints_a_table_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    need("mosquitto", "mosquitto")
    monkeypatch.chdir(tmp_path)
    assert main(["--agents", "5", "--away", "0", "--json", "herd.json"]) == 0

    rounds = msgspec.json.decode((tmp_path / "herd.json").read_bytes(), type=list[Round])
    assert [(row.jitter, row.back) for row in rounds] == [(True, 5), (False, 5)]
    assert "5 agents" in capsys.readouterr().out


def test_more_agents_than_descriptors_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--agents", "2000000000"]) == 69

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "descriptors" in said
