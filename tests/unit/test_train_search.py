"""The search's table, and the plans in it."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is in the train extra only")

from tools.train.nets import SHIPPED
from tools.train.search import PLANS, REPORT, cost, main, table

ROOT = Path(__file__).parents[2]


def test_the_page_shows_the_report_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/experiments.md").read_text()
    shown = page.split("<!-- search: begin -->\n")[1].split("\n<!-- search: end -->")[0].strip()

    assert main(["--table"]) == 0

    assert shown == capsys.readouterr().out.strip()
    assert shown == table(json.loads((ROOT / REPORT).read_text())["nets"])


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_costs_what_the_report_says_and_no_more_than_a_board_has(name: str) -> None:
    (line,) = (one for one in json.loads((ROOT / REPORT).read_text())["nets"] if one["name"] == name)

    assert line["plan"] == PLANS[name]
    assert {key: line[key] for key in cost(PLANS[name])} == cost(PLANS[name])
    assert cost(PLANS[name])["parameters"] <= 230_000
    assert cost(PLANS[name])["multiply_adds"] <= 5_020_000  # a trial may be a hair over what ships


def test_the_search_begins_with_what_ships() -> None:
    assert PLANS["shipped"] == SHIPPED
