"""What a fleet needs beside the boards: a certificate authority, a collector, brokers to try things on."""
