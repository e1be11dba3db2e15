"""The notice of a running agent: put up, read, outdated, taken down."""

from pathlib import Path

import pytest

from agent.clock import NS_PER_S
from agent.errors import NotPermittedError
from agent.service.notice import NoticeBoard, notice_file, read_notice

NOW = 1000 * NS_PER_S


def test_what_is_put_up_is_what_is_read(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}:/run/other"}
    board = NoticeBoard(environ)
    assert board.is_there
    board.post({"backlog": 1}, NOW - NS_PER_S)
    board.post({"backlog": 2}, NOW)
    assert read_notice(environ, NOW + NS_PER_S) == {"backlog": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["agent.json"]
    assert notice_file(environ).stat().st_mode & 0o777 == 0o644
    board.take_down()
    board.take_down()
    assert list(tmp_path.iterdir()) == []


def test_an_old_notice_is_of_an_agent_that_was_killed(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    NoticeBoard(environ).post({"backlog": 1}, NOW)
    assert read_notice(environ, NOW + 10 * NS_PER_S - 1) == {"backlog": 1}
    assert read_notice(environ, NOW + 10 * NS_PER_S) is None
    assert read_notice(environ, NOW - 1) is None  # of an earlier boot


def test_without_a_folder_of_the_service_manager_nothing_is_written(tmp_path: Path) -> None:
    board = NoticeBoard({})
    assert not board.is_there
    board.post({}, NOW)
    board.take_down()
    assert notice_file({}) == Path("/run/maskwatch/agent.json")


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    board = NoticeBoard({"RUNTIME_DIRECTORY": str(tmp_path / "absent")})
    board.post({"backlog": 1}, NOW)
    board.take_down()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"at_ns": "x", "diagnosis": {}}'])
def test_what_is_no_notice_is_none(tmp_path: Path, content: bytes) -> None:
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    assert read_notice(environ, NOW) is None
    (tmp_path / "agent.json").write_bytes(content)
    assert read_notice(environ, NOW) is None


def test_a_notice_that_may_not_be_read_is_one_line_and_77(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(NotPermittedError, match="run this with sudo"):
        read_notice({"RUNTIME_DIRECTORY": str(tmp_path)}, NOW)
