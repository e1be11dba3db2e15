/**
 * The service worker: keeps every file of this version, answers from there, and lets nothing go anywhere else.
 *
 * The build puts the list of files and its digest in place of the two names below.
 */

const FILES = __FILES__;
const VERSION = `maskwatch-${__VERSION__}`;

self.addEventListener("install", (event) => {
  const fresh = FILES.map((file) => new Request(file, { cache: "no-cache" }));
  event.waitUntil(
    caches
      .open(VERSION)
      .then((cache) => cache.addAll(fresh))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (event) => {
  const old = (names) => names.filter((name) => name.startsWith("maskwatch-") && name !== VERSION);
  const cleared = caches.keys().then((names) => Promise.all(old(names).map((name) => caches.delete(name))));
  event.waitUntil(cleared.then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const address = new URL(event.request.url);
  if (address.origin !== self.location.origin) {
    event.respondWith(Response.error());
  } else if (event.request.method === "GET") {
    event.respondWith(answer(event.request));
  }
});

async function answer(request) {
  const cache = await caches.open(VERSION);
  const kept = await cache.match(request, { ignoreSearch: true });
  return kept ?? fetch(request);
}
