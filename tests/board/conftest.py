"""What several modules share: a fleet with a bundle at hand, boards, and their journals when a test fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.board.booted import SYSTEMS, BootedBoard, journals
from tests.board.fleet import Fleet, write_clip


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the journal of each board that is on when a test fails."""
    report = yield
    if report.failed:  # type: ignore[attr-defined]
        report.sections.extend((f"journal of {name}", text) for name, text in journals())  # type: ignore[attr-defined]
    return report


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A broker and an enrolment server, and a clip for the boards' cameras."""
    made = Fleet(tmp_path_factory.mktemp("fleet") / "fleet")
    write_clip(made.shared / "clip.avi")
    with made:
        yield made


@pytest.fixture(scope="module")
def original(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> BootedBoard:
    """A trixie board that has been provisioned and is off."""
    board = BootedBoard(SYSTEMS["trixie"], tmp_path_factory.mktemp("original") / "board", fleet)
    board.power_on()
    try:
        done = board.provision(fleet.bundle("3.13"))
        assert done.returncode == 0, done.stdout + done.stderr
        board.power_off()
    finally:
        board.close()
    return board


@pytest.fixture
def board(original: BootedBoard, fleet: Fleet, tmp_path: Path) -> Iterator[BootedBoard]:
    """A provisioned board that a test may do anything to: the twin of the original, booted."""
    with BootedBoard(SYSTEMS["trixie"], tmp_path / "board", fleet, disk=original.disk) as twin:
        yield twin
