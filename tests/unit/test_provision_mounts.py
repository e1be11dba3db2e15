"""One line of /etc/fstab, and nothing else of it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.provision.mounts import line_of, mounted_at, spared

MOUNTS = (
    "sysfs /sys sysfs rw 0 0\n/dev/root / ext4 rw 0 0\n/dev/sda1 /var ext4 rw 0 0\n/dev/sdb1 /var/library xfs rw 0 0\n"
)


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        (MOUNTS, ("/var", "ext4")),
        ("/dev/root / ext4 rw 0 0\n", ("/", "ext4")),
        ("/dev/root / ext4 rw 0 0\noverlay / overlay rw 0 0\n", ("/", "overlay")),
        ("/dev/a / ext4 rw 0 0\n/dev/b /var/lib btrfs rw 0 0\n", ("/var/lib", "btrfs")),
        ("", ("", "")),
    ],
)
def test_the_file_system_that_holds_a_path_is_the_deepest_mount_and_the_last(
    mounts: str, expected: tuple[str, str]
) -> None:
    assert mounted_at(mounts, "/var/lib") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("UUID=1 / ext4 defaults 0 1", "UUID=1 / ext4 defaults,noatime,commit=60 0 1"),
        ("UUID=1 / ext4 defaults,noatime 0 1", "UUID=1 / ext4 defaults,noatime,commit=60 0 1"),
        ("UUID=1 / ext4 rw,relatime,commit=600 0 1", "UUID=1 / ext4 rw,commit=600,noatime 0 1"),
        ("UUID=1\t/\text4\terrors=remount-ro\t0\t1", "UUID=1\t/\text4\terrors=remount-ro,noatime,commit=60\t0\t1"),
        ("/dev/x  /  ext4  defaults", "/dev/x  /  ext4  defaults,noatime,commit=60"),
    ],
)
def test_what_spares_the_card_is_added_and_columns_stay(line: str, expected: str) -> None:
    assert spared(line) == expected
    assert spared(expected) == expected


def test_only_ext4_lines_that_are_no_comments_count() -> None:
    fstab = "#UUID=1 / ext4 defaults 0 1\nUUID=2 / xfs defaults 0 1\n\nUUID=3 /home ext4 defaults 0 2\n"
    assert line_of(fstab, "/") is None
    assert line_of(fstab, "/home") == "UUID=3 /home ext4 defaults 0 2"


words = st.text(string.ascii_letters + string.digits + "=/-_.:", min_size=1, max_size=8).filter(lambda w: w[0] != "#")
blanks = st.text(" \t", min_size=1, max_size=3)


@given(st.tuples(words, words, words, blanks, blanks, blanks), st.lists(words, min_size=1, max_size=4), words)
def test_any_line_keeps_its_other_fields_and_blanks_and_is_spared_once(
    parts: tuple[str, str, str, str, str, str], options: list[str], rest: str
) -> None:
    device, point, kind, one, two, three = parts
    line = f"{device}{one}{point}{two}{kind}{three}{','.join(options)} {rest}"
    made = spared(line)
    head = f"{device}{one}{point}{two}{kind}{three}"
    assert made.startswith(head)
    assert made.endswith(f" {rest}")
    changed = made.removeprefix(head).removesuffix(f" {rest}").split(",")
    kept = [option for option in options if option not in ("relatime", "atime", "strictatime", "norelatime")]
    assert changed[: len(kept)] == kept
    assert "noatime" in changed
    assert sum(option.startswith("commit=") for option in changed) >= 1
    assert spared(made) == made
