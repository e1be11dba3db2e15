"""Other releases of the agent, made of the one there is: a newer one, and one that does not work."""

import base64
import hashlib
import zipfile
from pathlib import Path


def with_version(wheel: Path, version: str, folder: Path, *, changes: dict[str, tuple[str, str]] | None = None) -> Path:
    """Write the wheel of another version. changes: by path inside, a text that is there once and what replaces it."""
    name, old, tags = wheel.stem.split("-", 2)
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{name}-{version}-{tags}.whl"
    places = {f"{name}/": f"{name}/", f"{name}-{old}.dist-info/": f"{name}-{version}.dist-info/"}
    edits = {"agent/__init__.py": (f'"{old}"', f'"{version}"'), **(changes or {})}
    edits[f"{name}-{old}.dist-info/METADATA"] = (f"\nVersion: {old}\n", f"\nVersion: {version}\n")
    record = f"{name}-{version}.dist-info/RECORD"
    lines = []
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for path in source.namelist():
            data = source.read(path)
            if path in edits:
                before, after = edits[path]
                assert data.count(before.encode()) == 1, (path, before)
                data = data.replace(before.encode(), after.encode())
            for start, other in places.items():
                path = other + path.removeprefix(start) if path.startswith(start) else path
            if path != record:
                target.writestr(path, data)
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                lines.append(f"{path},sha256={digest},{len(data)}")
        target.writestr(record, "\n".join([*lines, f"{record},,"]) + "\n")
    return made
