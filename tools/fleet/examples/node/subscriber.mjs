// The smallest correct subscriber in Node: it counts persons by label, each once, whatever breaks in between.
//
//     npm install
//     node subscriber.mjs mqtts://broker.example:8883 ca.pem dashboard.pem dashboard.key
//
// Prints what it knows after each event: persons by label, and the sequences that never came.

import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import mqtt from "mqtt";

const [url, ...files] = process.argv.slice(2);
const [ca, cert, key] = files.map((file) => readFileSync(file));
const STATE = "subscriber.json"; // what is remembered between two runs

const state = existsSync(STATE) ? JSON.parse(readFileSync(STATE, "utf8")) : { streams: {}, persons: {} };

// Takes an event into account, once. A stream comes in order; its first event need not be number 1.
function count({ stream, sequence, type, data }) {
  const number = Number(sequence);
  if (typeof stream !== "string" || !(number > 0) || typeof data !== "object") throw new TypeError("not an event");
  const known = (state.streams[stream] ??= { last: number - 1, missing: [] });
  const late = known.missing.indexOf(number);
  if (late >= 0) known.missing.splice(late, 1);
  else if (number <= known.last) return; // a duplicate: delivery is at least once
  for (let skipped = known.last + 1; skipped < number; skipped++) known.missing.push(skipped);
  known.last = Math.max(known.last, number);
  if (type === "maskwatch.gap.v1")
    // the board gave these up, and says so: nothing to wait for
    known.missing = known.missing.filter((one) => one < data.first || one > data.last);
  if (type === "maskwatch.person.end.v1")
    // exactly one for each person
    state.persons[data.label] = (state.persons[data.label] ?? 0) + 1;
  const file = openSync(STATE + ".new", "w");
  writeFileSync(file, JSON.stringify(state));
  fsyncSync(file);
  closeSync(file);
  renameSync(STATE + ".new", STATE); // whole or not at all
}

// The session with its queue stays at the broker while we are away: a name of our own, and no clean start.
const client = mqtt.connect(url, { clientId: "dashboard", clean: false, protocolVersion: 4, ca, cert, key });

// mqtt.js acknowledges when `done` is called: after the event is on the disk.
client.handleMessage = (packet, done) => {
  try {
    count(JSON.parse(packet.payload));
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
    // not an event; unacknowledged it would come again for ever
    console.log(JSON.stringify({ not_an_event: error.message, topic: packet.topic }));
  }
  const missing = Object.values(state.streams).flatMap((known) => known.missing);
  console.log(JSON.stringify({ persons: state.persons, missing }));
  done();
};
client.on("connect", () => client.subscribe("maskwatch/+/+/events", { qos: 1 }, () => console.log("ready")));
client.on("error", (error) => console.error(error.message));
