"""What runs on a bare board needs nothing but Python, and keeps the rules of the house."""

import ast
import sys

from tests.provision_parts import REPOSITORY

MODULES = sorted((REPOSITORY / "deploy/provision").glob("*.py"))


def test_nothing_but_the_standard_library_is_imported() -> None:
    foreign = {
        f"{module.name}: {name}"
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and node.level == 0
            else []
        )
        if name.split(".")[0] not in sys.stdlib_module_names
    }
    assert len(MODULES) > 20
    assert foreign == set()


def test_no_module_is_longer_than_one_idea_and_none_catches_whatever_comes() -> None:
    assert [module.name for module in MODULES if len(module.read_text().splitlines()) > 350] == []
    broad = [
        f"{module.name}:{node.lineno}"
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException"))
    ]
    assert broad == []


def test_only_the_board_touches_the_system() -> None:
    reached = {
        f"{module.name}: {alias.name}"
        for module in MODULES
        if module.name not in ("board.py", "command.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in ("os", "subprocess", "socket", "signal")
    }
    assert reached == set()
