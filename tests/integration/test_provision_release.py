"""A release made by the real venv and pip, offline; and the bundle's one file as a shell starts it."""

import base64
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from deploy.provision.board import Board
from deploy.provision.problem import Exit, Problem
from tests.provision_parts import REPOSITORY, FolderBoard, Scene, System, listing, make_bundle, seal, sign_by_hand
from tests.real import need, wait_for
from tools.fleet.enrol.bundle import provision as pack

AGENT = """\
import sys, helper
def main():
    if sys.argv[1] == "check":
        print("models  ok    golden answers match")
        print("agent   ok    1 events acknowledged, camera ok")
"""


def make_wheel(folder: Path, name: str, version: str, module: str, text: str, script: str = "") -> Path:
    """Make a wheel by hand (PEP 427)."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{module}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script}\n"
    lines = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}")
    file = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, content in (files | {f"{info}/RECORD": "\n".join([*lines, f"{info}/RECORD,,", ""])}).items():
            archive.writestr(path, content)
    return file


def pip_wheel() -> Path:
    """Find the wheel of pip that Python or Debian keeps for ensurepip, or skip."""
    bundled = Path(sys.base_prefix) / f"lib/python3.{sys.version_info.minor}/ensurepip/_bundled"
    found = [file for place in (bundled, Path("/usr/share/python-wheels")) for file in place.glob("pip-*.whl")]
    if not found:
        pytest.skip("needs a wheel of pip: apt-get install python3-pip-whl")
    return found[0]


class Installation(Scene):
    """A board whose releases are made in earnest, of an agent of a few lines and its one dependency."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.system = System(self.root, quick=False)
        self.board = FolderBoard(self.root, self.system)
        self.agent = make_wheel(folder, "maskwatch", "1.0", "agent", AGENT, "maskwatch = agent:main")
        self.helper = make_wheel(folder, "helper", "3.1", "helper", "")
        self.pip = pip_wheel()
        digest = hashlib.sha256(self.helper.read_bytes()).hexdigest()
        self.bundle = make_bundle(
            folder / "real",
            self.authority.root,
            wheels=[self.agent, self.helper, self.pip],
            pip=self.pip.name,
            board=f"helper==3.1 --hash=sha256:{digest}\n",
        )

    def reseal(self) -> None:
        seal(self.bundle, version="1.0", wheel=self.agent.name, pip=self.pip.name)


@pytest.fixture
def real(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_a_release_is_made_offline_and_again_from_nothing_where_its_stamp_is_missing(real: Installation) -> None:
    real.installed()
    release = real.root / "opt/maskwatch/releases/1.0"
    assert says(real.root / "opt/maskwatch/current/bin/maskwatch").startswith("models  ok")
    assert not (release / "bin/pip").exists()
    assert "include-system-site-packages = true" in (release / "pyvenv.cfg").read_text()
    before = listing(real.root)
    assert real.provision() == 0
    assert listing(real.root) == before

    (release / "complete").unlink()
    shutil.rmtree(release / "lib")
    (release / "rubbish").touch()
    assert real.provision() == 0
    assert (release / "complete").exists()
    assert not (release / "rubbish").exists()
    assert says(real.root / "opt/maskwatch/current/bin/maskwatch").startswith("models  ok")


def says(program: Path) -> str:
    return subprocess.run([program, "check"], capture_output=True, text=True, timeout=60).stdout


def test_a_wheel_that_is_not_the_locked_one_is_refused_in_one_line(
    real: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    make_wheel(real.bundle / "wheels", "helper", "3.1", "helper", "import os\n")
    real.reseal()
    assert real.provision() == 75
    sign_by_hand(real.authority, real.bundle)
    capsys.readouterr()
    assert real.provision() == 69
    said = capsys.readouterr().err
    assert said.startswith("pip, release 1.0: ")
    assert len(said.splitlines()) == 1
    assert not (real.root / "opt/maskwatch/current").exists()
    (real.bundle / "wheels" / real.helper.name).write_bytes(real.helper.read_bytes())
    real.reseal()
    assert real.provision() == 0


def test_a_dependency_that_is_not_in_the_bundle_is_not_looked_for_elsewhere(
    real: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    (real.bundle / "board.txt").write_text(f"idna==3.10 --hash=sha256:{'0' * 64}\n")
    real.reseal()
    assert real.provision() == 75
    sign_by_hand(real.authority, real.bundle)
    assert real.provision() == 69
    assert "No matching distribution found for idna==3.10" in capsys.readouterr().err


def test_what_a_run_has_started_dies_with_it(tmp_path: Path) -> None:
    need("setpriv", "util-linux")
    program = "from deploy.provision.board import Board; Board().run('sh', '-c', 'echo $$ >pid; exec sleep 600')"
    run = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
    )
    file = tmp_path / "pid"
    wait_for(lambda: file.exists() and file.read_text().endswith("\n"), what="the child")
    child = int(file.read_text())
    run.send_signal(signal.SIGKILL)
    run.wait()
    wait_for(lambda: not Path(f"/proc/{child}").exists() or "State:\tZ" in Path(f"/proc/{child}/status").read_text())


def test_two_runs_are_never_at_work_at_once(tmp_path: Path) -> None:
    (tmp_path / "var/lib").mkdir(parents=True)
    board = FolderBoard(tmp_path, System(tmp_path))
    with board.alone():
        other = FolderBoard(tmp_path, System(tmp_path))
        with pytest.raises(Problem, match="another run is at work") as caught, other.alone():
            pass
        assert caught.value.code == Exit.LATER
        assert other.slept_s > 9
    with FolderBoard(tmp_path, System(tmp_path)).alone():
        pass


# The one file, as a shell starts it.


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "provision"
    file.write_bytes(pack())
    file.chmod(0o755)
    return file


def start(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", env=environment)


@pytest.mark.parametrize("shell", ["", "dash", "bash", "busybox"])
def test_every_shell_starts_it(program: Path, shell: str) -> None:
    head = {"": [], "busybox": [shutil.which("busybox") or "", "sh"]}.get(shell, [shutil.which(shell) or ""])
    if head and not head[0]:
        pytest.skip(f"needs {shell}: apt-get install {shell}")
    helped = start(*head, program, "--help", PATH="/usr/bin:/bin", PYTHONPATH="/nowhere", PYTHONHOME="/nowhere")
    assert helped.returncode == 0, helped.stderr
    assert "--discard-events" in helped.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "provision: no --bundle; see provision --help\n"),
        (["--bundel", "x"], "provision: no option '--bundel' (did you mean '--bundle'?); see provision --help\n"),
        (["--bundle"], "provision: argument --bundle: expected one argument; see provision --help\n"),
        (
            ["--bundle", "x", "--check", "--upgrade"],
            "provision: argument --upgrade: not allowed with argument --check; see provision --help\n",
        ),
    ],
)
def test_a_wrong_command_line_is_one_line_and_two(program: Path, words: list[str], said: str) -> None:
    done = start(program, *words, PATH="/usr/bin:/bin")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_somebody_who_is_not_root_is_told_so(program: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are for their owner alone
        Path(folder).chmod(0o755)
        copy = shutil.copy(program, folder)
        done = start("setpriv", "--reuid=65534", "--clear-groups", "--", copy, "--bundle", "/", PATH="/usr/bin:/bin")
    assert (done.returncode, done.stderr) == (77, "provision: only root can; put sudo before it\n")


def test_a_machine_whose_systemd_does_not_run_is_told_so_and_nothing_is_done(real: Installation, program: Path) -> None:
    if Path("/run/systemd/system").exists():
        pytest.skip("systemd runs here")
    if Board().python() != (
        here := start("/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").stdout.strip()
    ):
        pytest.skip(f"the system's Python is {here}, the bundle's another")
    done = start(program, "--bundle", real.bundle, PATH="/usr/bin:/bin")
    assert (done.returncode, len(done.stderr.splitlines())) == (69, 1)
    assert "systemd does not run here; run this on the booted board" in done.stderr
    assert not Path("/etc/maskwatch/installed.json").exists()


def test_a_missing_and_an_old_python_are_named(program: Path, tmp_path: Path) -> None:
    text = program.read_bytes()
    none = tmp_path / "none"
    none.write_bytes(text.replace(b"python=/usr/bin/python3\n", b"python=/nowhere/python3\n"))
    done = start("/bin/sh", none, PATH="/nowhere")
    assert (done.returncode, done.stderr.partition(";")[0]) == (69, "provision: python3 is missing")
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = start("/bin/sh", none, PATH=str(tmp_path))
    assert (done.returncode, "is older than 3.11" in done.stderr) == (78, True)


def test_shellcheck_has_nothing_to_say() -> None:
    done = start(need("shellcheck", "shellcheck"), "-s", "sh", REPOSITORY / "deploy/provision/start.sh")
    assert (done.returncode, done.stdout) == (0, "")
