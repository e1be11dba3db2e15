#!/bin/sh
# The head of a bundle's `provision`. Behind it lies a zip file, which Python finds from the end of the file.
python=/usr/bin/python3
if [ ! -x "$python" ] && ! python=$(command -v python3); then
    echo "provision: python3 is missing; apt-get install python3, then run the same command again" >&2
    exit 69
fi
if ! "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "provision: $python is older than 3.11; use Raspberry Pi OS or Debian, 12 or later" >&2
    exit 78
fi
exec "$python" -I "$0" "$@"
