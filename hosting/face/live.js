// Keeps a page fresh: an event says "look again", the page is asked once more and its parts are exchanged.
// The server makes every word and number, so that a page is the same with and without this file. Chrome 109, Firefox 115.

const root = document.documentElement;
const stream = document.body.dataset.events;
const digest = document.body.dataset.digest;
const PAUSE_MS = 1500; // between two looks: a tired eye needs no more, and an old machine has other work

let looking = false;
let again = false;
let lookedAt = 0;

function held(part) {
  // Never under somebody's hands: a field being filled in, text being marked.
  const active = document.activeElement;
  if (active && part.contains(active) && active.matches("input, select, textarea")) return true;
  const marked = document.getSelection();
  return Boolean(marked && !marked.isCollapsed && marked.anchorNode && part.contains(marked.anchorNode));
}

function exchange(part, other) {
  const reach = "a, button, summary, [tabindex]";
  const place = [...part.querySelectorAll(reach)].indexOf(document.activeElement);
  const open = new Set([...part.querySelectorAll("details[open][id]")].map((one) => one.id));
  part.replaceChildren(...document.importNode(other, true).childNodes);
  part.className = other.className;
  for (const one of part.querySelectorAll("details[id]")) if (open.has(one.id)) one.open = true;
  if (place >= 0) part.querySelectorAll(reach)[place]?.focus({ preventScroll: true });
}

async function look() {
  if (looking) {
    again = true;
    return;
  }
  looking = true;
  const rest = lookedAt + PAUSE_MS - Date.now();
  if (rest > 0) await new Promise((done) => setTimeout(done, rest));
  again = false;
  lookedAt = Date.now();
  try {
    const reply = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (reply.ok) {
      const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
      for (const part of document.querySelectorAll("[data-part]")) {
        const other = fresh.querySelector(`[data-part="${CSS.escape(part.dataset.part)}"]`);
        if (other && other.innerHTML !== part.innerHTML && !held(part)) exchange(part, other);
      }
      root.dataset.looked = String(Number(root.dataset.looked || 0) + 1);
    }
  } catch {
    say(false); // the stream tells when the server is there again
  }
  looking = false;
  if (again) look();
}

function say(alive) {
  const notice = document.getElementById("not-live");
  if (notice) notice.hidden = alive;
}

if (stream) {
  const events = new EventSource(stream);
  events.addEventListener("hello", (event) => {
    if (JSON.parse(event.data).digest !== digest) {
      location.reload(); // the program was renewed meanwhile
      return;
    }
    say(true);
    if (root.dataset.ready) look();
    root.dataset.ready = "live";
  });
  events.addEventListener("changed", look);
  events.addEventListener("error", () => say(false));
  addEventListener("pagehide", () => events.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
} else {
  root.dataset.ready = "still";
}

for (const button of document.querySelectorAll("button[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}
