// What has just come: new lines on top of the list, and fresh states. Everything else works without this.
"use strict";

const main = document.getElementById("main");
const lamp = document.getElementById("lamp");
const list = document.getElementById("live");
const RESTED_MS = 2000; // between two fresh looks
let waiting = false;

function part(name, kind, text) {
  const made = document.createElement(name);
  made.className = kind;
  made.textContent = text; // never markup: names and reasons come from a network
  return made;
}

function show(one) {
  if (!list) return;
  const made = part("li", "event new", "");
  made.append(part("time", "", (one.is_dated ? "" : "≈ ") + one.at));
  if (!("alone" in list.dataset)) {
    const link = part("a", "device", one.device);
    link.href = "/devices/" + encodeURIComponent(one.device);
    made.append(link);
  }
  const words = { mask: "mask", no_mask: "no mask", incorrect: "worn wrongly", unsure: "unsure" };
  made.append(part("span", "kind " + (one.label || one.kind.replaceAll(".", "-")), words[one.label] || one.kind));
  made.append(part("span", "text", one.text));
  list.prepend(made);
  while (list.children.length > Number(list.dataset.most)) list.lastElementChild.remove();
}

async function refresh() {
  if (waiting) return;
  waiting = true;
  setTimeout(() => { waiting = false; }, RESTED_MS);
  const answer = await fetch(location.href, { redirect: "error" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const fresh of page.querySelectorAll("[data-fresh]")) {
    const old = document.getElementById(fresh.id);
    if (!old) continue;
    for (const open of old.querySelectorAll("details[open]")) fresh.querySelector("#" + open.id)?.setAttribute("open", "");
    old.replaceWith(document.adoptNode(fresh));
  }
}

if (main && main.dataset.live) {
  const source = new EventSource(main.dataset.live);
  source.addEventListener("open", () => { lamp.hidden = false; lamp.textContent = "live"; lamp.classList.remove("away"); });
  source.addEventListener("error", () => { lamp.hidden = false; lamp.textContent = "not live"; lamp.classList.add("away"); });
  source.addEventListener("line", (told) => show(JSON.parse(told.data)));
  source.addEventListener("changed", () => refresh().catch(() => {}));
}
