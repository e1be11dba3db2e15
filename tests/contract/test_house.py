"""The rules of the house that no linter knows."""

import ast
from pathlib import Path

AGENT = Path(__file__).parents[2] / "agent"
MODULES = sorted(AGENT.rglob("*.py"))


def test_no_module_of_the_agent_is_longer_than_one_idea() -> None:
    lengths = {str(module.relative_to(AGENT)): len(module.read_text().splitlines()) for module in MODULES}

    assert len(lengths) > 50
    assert {name: length for name, length in lengths.items() if length > 350} == {}


def test_only_service_and_cli_catch_whatever_comes() -> None:
    broad = [
        f"{module.relative_to(AGENT)}:{node.lineno}"
        for module in MODULES
        if module.relative_to(AGENT).parts[0] not in ("service", "cli")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException"))
    ]

    assert broad == []
