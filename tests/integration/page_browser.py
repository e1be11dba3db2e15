"""A real Chromium, headless, told what to do by the DevTools protocol over a pair of pipes."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.integration.page_scene import Visitor
from tests.real import need, wait_for


class Chromium:
    """One window, with a visitor's cookies. asked: every address that it has asked for. said: its complaints."""

    def __init__(self, folder: Path, visitor: Visitor) -> None:
        program = need("chromium", "chromium")
        self.url = f"http://127.0.0.1:{visitor.port}"
        self.asked: list[str] = []
        self.said: list[str] = []
        self._number = 0
        self._session: str | None = None
        theirs, self._ours = os.pipe()
        self._theirs, write = os.pipe()
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/browser"]
        shell = f'exec "$0" "$@" 3<&{theirs} 4>&{write}'  # the two that --remote-debugging-pipe speaks by
        self._process = subprocess.Popen(
            ["bash", "-c", shell, program, *words, "--remote-debugging-pipe", "about:blank"],
            pass_fds=(theirs, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(write)
        self._rest = b""
        target = self._do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._do(f"{domain}.enable")
        for name, value in visitor.cookies.items():
            self._do("Network.setCookie", name=name, value=value, url=self.url)

    def open(self, path: str) -> None:
        self._do("Page.navigate", url=self.url + path)

    def evaluate(self, script: str) -> Any:
        """Give the value of an expression in the page."""
        return self._do("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait_for(self, script: str, within_s: float = 30.0, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until an expression is true, doing something between looks."""

        def holds() -> bool:
            meanwhile()
            return bool(self.evaluate(script))

        wait_for(holds, within_s, script)

    def _do(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        told: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            told["sessionId"] = self._session
        os.write(self._ours, json.dumps(told).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._theirs, 65_536)
            assert more, "the browser has ended"
            self._rest += more
        one, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(one)
        match found.get("method"):
            case "Network.requestWillBeSent":
                self.asked.append(found["params"]["request"]["url"].removeprefix(self.url))
            case "Log.entryAdded":
                self.said.append(found["params"]["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.said.append(str(found["params"]["exceptionDetails"]))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
        os.close(self._theirs)
