"""The smallest correct subscriber in Python: it counts persons by label, each once, whatever breaks in between.

    python subscriber.py mqtts://broker.example:8883 --ca ca.pem --cert dashboard.pem --key dashboard.key

Needs paho-mqtt 2.2. Prints what it knows after each event: persons by label, and the sequences that never came.
"""

import argparse
import json
import sqlite3
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

TABLES = """
CREATE TABLE IF NOT EXISTS streams (stream TEXT PRIMARY KEY, last INTEGER);
CREATE TABLE IF NOT EXISTS missing (stream TEXT, sequence INTEGER, PRIMARY KEY (stream, sequence));
CREATE TABLE IF NOT EXISTS persons (label TEXT PRIMARY KEY, count INTEGER);
"""


def count(db: sqlite3.Connection, event: dict[str, Any]) -> None:
    """Take an event into account, once. A stream comes in order; its first event need not be number 1."""
    stream, sequence, data = event["stream"], int(event["sequence"]), event["data"]
    with db:  # one transaction: an event is counted and known to be counted, or neither
        (last,) = db.execute("SELECT max(last) FROM streams WHERE stream = ?", (stream,)).fetchone()
        late = db.execute("DELETE FROM missing WHERE stream = ? AND sequence = ?", (stream, sequence)).rowcount
        if last is not None and sequence <= last and not late:
            return  # a duplicate: delivery is at least once
        skipped = range(last + 1, sequence) if last is not None else ()
        db.executemany("INSERT INTO missing VALUES (?, ?)", [(stream, number) for number in skipped])
        db.execute("INSERT OR REPLACE INTO streams VALUES (?, ?)", (stream, max(sequence, last or 0)))
        if event["type"] == "maskwatch.gap.v1":  # the board gave these up, and says so: nothing to wait for
            named = (stream, data["first"], data["last"])
            db.execute("DELETE FROM missing WHERE stream = ? AND sequence BETWEEN ? AND ?", named)
        if event["type"] == "maskwatch.person.end.v1":  # exactly one for each person
            db.execute("INSERT OR IGNORE INTO persons VALUES (?, 0)", (data["label"],))
            db.execute("UPDATE persons SET count = count + 1 WHERE label = ?", (data["label"],))


def received(client: mqtt.Client, db: sqlite3.Connection, message: mqtt.MQTTMessage) -> None:
    try:
        count(db, json.loads(message.payload))
    except (ValueError, KeyError, TypeError) as error:  # not an event; unacknowledged it would come again for ever
        print(json.dumps({"not_an_event": str(error), "topic": message.topic}), flush=True)
    client.ack(message.mid, message.qos)  # it is on the disk: the broker may forget it
    persons = dict(db.execute("SELECT * FROM persons ORDER BY label"))
    missing = [sequence for (sequence,) in db.execute("SELECT sequence FROM missing ORDER BY 1")]
    print(json.dumps({"persons": persons, "missing": missing}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    for name in ("ca", "cert", "key"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--state", default="subscriber.db", help="what is remembered between two runs")
    args = parser.parse_args()
    url = urlsplit(args.url)
    db = sqlite3.connect(args.state, check_same_thread=False)
    db.executescript(TABLES)
    # The session with its queue stays at the broker while we are away: a name of our own, and no clean start.
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id="dashboard", clean_session=False, manual_ack=True, userdata=db
    )
    if url.scheme == "mqtts":
        client.tls_set(ca_certs=args.ca, certfile=args.cert, keyfile=args.key)
    client.on_connect = lambda client, *_: client.subscribe("maskwatch/+/+/events", qos=1)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = received
    client.connect(url.hostname or "localhost", url.port or (8883 if url.scheme == "mqtts" else 1883))
    client.loop_forever()


if __name__ == "__main__":
    main()
