"""The commands of deploy/mosquitto/README.md, as the page prints them, on Debian's package."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real import need
from tools.fleet.shipped import SHIPPED

_INSIDE = """
set -e
ip link set lo up
mkdir -p upper/etc scratch/etc state/lib state/log systemd bin broker
mount -t overlay overlay -o lowerdir=/etc,upperdir=$PWD/upper/etc,workdir=$PWD/scratch/etc /etc || exit 77
mount --bind state/lib /var/lib/mosquitto
mount --bind state/log /var/log/mosquitto
chown mosquitto state/lib state/log
mount -t tmpfs tmpfs /run
mkdir -p /run/mosquitto
chown mosquitto /run/mosquitto
rm -f /etc/mosquitto/conf.d/*
echo 127.0.0.1 localhost broker.example > /etc/hosts
for command in apt-get systemctl; do printf '#!/bin/sh\necho "$0 $*" >> %s/called\n' $PWD > bin/$command; done
printf '#!/bin/sh\nexec %s "$@"\n' "$PYTHON" > bin/python
chmod +x bin/*
export PATH=$PWD/bin:$PATH
(set -e; cd "$ROOT"; . "$OLDPWD/authority.sh")
cp ~/maskwatch-ca/ca.pem ~/maskwatch-ca/ca.crl ~/maskwatch-ca/issued/broker.* "$ROOT"/deploy/mosquitto/* broker/
(set -e; cd broker; . ../broker.sh)
mosquitto -c /etc/mosquitto/mosquitto.conf &
trap 'kill $!; wait $!' EXIT
ours="--cafile $HOME/maskwatch-ca/ca.pem --cert $HOME/maskwatch-ca/issued/entrance-1.pem"
ours="$ours --key $HOME/maskwatch-ca/issued/entrance-1.key --tls-version tlsv1.3 -h broker.example -p 8883 -V mqttv5 -d"
for i in $(seq 200); do
    mosquitto_pub $ours -q 1 -t maskwatch/hall/entrance-1/events -m x && break
    sleep 0.05
done
mosquitto_pub $ours -q 1 -t maskwatch/hall/entrance-2/events -m x
echo --- log
cat state/log/mosquitto.log
ps -o user= -p $!
"""


def test_the_commands_of_the_readme_make_a_broker_of_a_fresh_debian_package(tmp_path: Path) -> None:
    need("mosquitto", "mosquitto")
    need("mosquitto_pub", "mosquitto-clients")
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts over /etc in a namespace of its own")
    if not Path("/etc/mosquitto/mosquitto.conf").exists():
        pytest.skip("needs Debian's configuration of mosquitto: apt-get install mosquitto")
    authority, broker = re.findall(r"```sh\n(.*?)```", (SHIPPED / "README.md").read_text(), re.S)
    (tmp_path / "authority.sh").write_text(authority)
    (tmp_path / "broker.sh").write_text(broker)
    environ = os.environ | {"HOME": str(tmp_path), "PYTHON": sys.executable, "ROOT": str(SHIPPED.parents[1])}
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", _INSIDE],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    if done.returncode == 77:
        pytest.skip(f"needs overlay mounts: {done.stderr.strip()}")
    said, log = done.stdout.split("--- log\n")
    assert done.returncode == 0, done.stderr
    assert "sending PUBLISH" in said
    assert "received PUBACK (Mid: 1, RC:16)" in said  # nobody subscribes yet
    assert "received PUBACK (Mid: 1, RC:135)" in said  # and entrance-2 is somebody else
    assert log.split()[-1] == "mosquitto"
    warned = re.findall(r"Warning: .*", log)
    assert warned == ["Warning: ACL pattern 'homeassistant/status' does not contain '%c' or '%u'."]
    assert "systemctl restart mosquitto" in (tmp_path / "called").read_text()
