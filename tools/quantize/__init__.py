"""Float checkpoint to full int8 file: convert, check, describe."""
