"""Debian systems in a folder: built once and kept, entered by chroot, or booted with their own systemd."""
