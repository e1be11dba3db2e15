"""The fleet page: how every device is and what all of them have counted, for people, served by the collector."""
