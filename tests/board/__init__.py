"""The board: a real libcamera, a real systemd. Run by `make board`; needs root."""
