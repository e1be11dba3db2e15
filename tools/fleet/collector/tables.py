"""The tables and their indexes, the same in SQLite and in PostgreSQL.

What an index is for stands beside it; docs/collector.md has what they cost an event.
"""

VERSION = 2
"""Goes up when a table changes; a database of another version is refused."""

USUAL = ("maskwatch.person.new.v1", "maskwatch.person.update.v1", "maskwatch.person.end.v1", "maskwatch.counts.v1")
"""The types that make nearly all events; the others are few enough for an index of their own."""

ENDED = "maskwatch.person.end.v1"
"""The type that persons are counted by: one a person, with the label that stood at the end."""

AT = "coalesce(happened_ms, received_ms)"
"""When an event counts as having happened: while its device's clock was not trusted, when it came."""

RARE = f"type NOT IN ({', '.join(repr(name) for name in USUAL)})"

_DDL = """
CREATE TABLE events (
    device text NOT NULL,
    stream text NOT NULL,
    sequence bigint NOT NULL,
    site text NOT NULL,
    type text NOT NULL,
    label text,
    subject text,
    boot text NOT NULL,
    mono_ms bigint NOT NULL,
    time_ms bigint,
    happened_ms bigint,
    received_ms bigint NOT NULL,
    payload text NOT NULL,
    PRIMARY KEY (device, stream, sequence)
);
-- to give events without wall time that of their neighbours
CREATE INDEX events_dated ON events (device, boot, mono_ms, time_ms) WHERE time_ms IS NOT NULL;
CREATE INDEX events_undated ON events (device, boot, mono_ms) WHERE time_ms IS NULL;
-- for the page: what has just come, lists by time, a device's persons by label, what is rare
CREATE INDEX events_received ON events (received_ms);
CREATE INDEX events_at ON events ((%(at)s));
CREATE INDEX events_at_device ON events (device, (%(at)s));
CREATE INDEX events_ended ON events (device, happened_ms, label) WHERE type = '%(ended)s';
CREATE INDEX events_rare ON events (type, (%(at)s)) WHERE %(rare)s;
CREATE INDEX events_rare_device ON events (device, (%(at)s)) WHERE %(rare)s;
CREATE TABLE hours (
    site text NOT NULL,
    type text NOT NULL,
    label text NOT NULL,
    hour bigint NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (site, type, label, hour)
)%(keyed)s;
CREATE TABLE devices (
    device text PRIMARY KEY,
    site text NOT NULL,
    stream text,
    undated boolean NOT NULL DEFAULT false,
    seen_ms bigint NOT NULL
)%(keyed)s;
CREATE TABLE states (
    device text PRIMARY KEY,
    site text NOT NULL,
    session bigint,
    online boolean,
    camera text,
    reason text,
    status text,
    since_ms bigint,
    changes bigint NOT NULL DEFAULT 0,
    telemetry text,
    telemetry_session bigint,
    telemetry_ms bigint,
    every_ms bigint
)%(keyed)s;
CREATE TABLE streams (
    device text NOT NULL,
    stream text NOT NULL,
    hwm bigint NOT NULL,
    top bigint NOT NULL,
    PRIMARY KEY (device, stream)
)%(keyed)s;
CREATE TABLE gaps (
    device text NOT NULL,
    stream text NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    why text NOT NULL,
    noted_ms bigint NOT NULL,
    PRIMARY KEY (device, stream, last, first)
)%(keyed)s;
CREATE INDEX gaps_noted ON gaps (noted_ms);
CREATE TABLE conflicts (
    id %(serial)s,
    device text NOT NULL,
    stream text NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    payload text NOT NULL
);
CREATE TABLE rejected (
    id %(serial)s,
    topic text NOT NULL,
    why text NOT NULL,
    received_ms bigint NOT NULL,
    payload %(bytes)s NOT NULL
);
CREATE TABLE links (
    instance text PRIMARY KEY,
    connected boolean NOT NULL,
    since_ms bigint NOT NULL,
    seen_ms bigint NOT NULL
);
CREATE TABLE page_users (
    name text PRIMARY KEY,
    secret text NOT NULL
);
CREATE TABLE page_sessions (
    token text PRIMARY KEY,
    name text NOT NULL,
    expires_ms bigint NOT NULL
);
"""
_ROLL = """
CREATE TABLE instances (
    name text PRIMARY KEY,
    heir text,
    seen timestamptz NOT NULL
);
"""
_COMMON = {"at": AT, "ended": ENDED, "rare": RARE}

SQLITE = _DDL % {
    **_COMMON,
    "keyed": " WITHOUT ROWID",
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "bytes": "blob",
}
POSTGRES = (_DDL + _ROLL) % {
    **_COMMON,
    "keyed": " WITH (fillfactor = 50)",  # their rows change in place
    "serial": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "bytes": "bytea",
}
