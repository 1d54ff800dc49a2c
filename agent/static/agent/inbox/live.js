// What keeps the page up to date: polls what has changed and puts it in place.
// HTML comes from our templates, which escape every text.

import { alertOf, showCount } from "./alerts.js";
import { parse, putInPlace, takePanes } from "./panes.js";
import { $, ask, page, shared, trouble } from "./server.js";

const IDLE_MS = 2050; // between the beginnings of two polls: six take more than ten seconds
const BUSY_MS = 800; // after an action, until its effects have shown
const HIDDEN_MS = 20000;
const BUSY_FOR_MS = 4000;
const TYPING_FOR_MS = 5000;
const TIMEOUT_MS = 15000; // a server that hangs is said as one that is not there
const NEAR_END_PX = 80;
const shown = new WeakMap(); // element -> a copy of what the server sent for it
let timer = 0;
let isPolling = false;
let busyUntil = 0;
let startedAt = 0;
let isUnseen = false; // what is shown came while the tab was hidden: nobody has read it
let isFollowing = true; // the end of the conversation stays in view
let lastTop = 0; // where the conversation was scrolled to

export function pollSoon() {
  busyUntil = Date.now() + BUSY_FOR_MS;
  if (!isPolling) poll();
}

function pollAfter(ms) {
  clearTimeout(timer);
  timer = setTimeout(poll, Math.max(ms, 0));
}

async function poll() {
  clearTimeout(timer);
  if (isPolling) return;
  isPolling = true;
  startedAt = Date.now();
  const parameters = new URLSearchParams(location.search);
  parameters.delete("at");
  const { list, open, others } = page;
  const seen = isUnseen && !document.hidden ? "" : page.seen; // look again: the server then marks it as read
  const typing = startedAt - shared.typedAt < TYPING_FOR_MS ? "1" : "";
  const values = { list, open, seen, others, visible: document.hidden ? "" : "1", typing };
  for (const [name, value] of Object.entries(values)) if (value) parameters.set(name, value);
  try {
    const changed = await ask(`${page.poll}?${parameters}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (changed) await apply(changed, parameters);
    trouble(null);
    putInPlace();
  } catch (error) {
    trouble(error);
  } finally {
    isPolling = false;
    const pause = document.hidden ? HIDDEN_MS : Date.now() < busyUntil ? BUSY_MS : IDLE_MS;
    pollAfter(startedAt + pause - Date.now());
  }
}

async function apply(changed, parameters) {
  if (changed.list !== undefined) {
    if (changed.rows !== undefined) morph($("rows"), changed.rows);
    $("tabs").replaceChildren(...parse(changed.tabs));
    morph($("offline"), changed.offline);
    page.list = changed.list;
    alertOf(changed);
    showCount(changed.waiting);
  }
  if (changed.others !== undefined && $("others")) {
    page.others = changed.others;
    $("others").textContent = changed.others;
  }
  if (changed.seen === undefined || !$("messages")) return;
  const parts = await ask(`${page.changes}?${parameters}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  takePanes(parts);
  isUnseen = !parameters.has("visible");
  showRefusal(parts.refusal);
  page.seen = changed.seen; // read before the parts: what has changed since then is noticed by the next poll
  if (page.past) return; // newer messages do not follow those that are shown
  const hasNew = morph($("messages"), parts.messages, true);
  $("activity").textContent = parts.activity;
  if (isFollowing) toEnd();
  else if (hasNew) $("newest").hidden = false;
}

/** Where nothing is delivered, the reason stands in place of what sends; notes and commands can still be written. */
function showRefusal(reason) {
  if (!$("composer")) return;
  $("refusal").textContent = reason;
  $("refusal").hidden = !reason;
  $("composer").classList.toggle("only-notes", Boolean(reason));
}

export function toEnd() {
  const scroller = $("scroller");
  if (scroller) {
    scroller.scrollTop = scroller.scrollHeight;
    lastTop = scroller.scrollTop;
  }
  isFollowing = true;
}

/** Make the children of `parent` those of the HTML, by their keys. Unchanged ones stay, so that a selection and
 * loaded text survive. `keepOlder`: children before the first of the HTML stay. Returns whether one was added. */
function morph(parent, html, keepOlder = false) {
  const wanted = parse(html);
  const existing = new Map([...parent.children].map((element) => [element.dataset.key, element]));
  const oldest = wanted.find((element) => Number(element.dataset.at) > 0)?.dataset.at;
  const isOlder = (element) => keepOlder && oldest && Number(element.dataset.at) < Number(oldest);
  const hasOlder =
    keepOlder && [...parent.children].some((element) => Number(element.dataset.at) > 0 && isOlder(element));
  let isAdded = false;
  const result = wanted
    .filter((element) => !(hasOlder && element.dataset.key === "older"))
    .map((element) => {
      const before = existing.get(element.dataset.key);
      if (before && shown.get(before)?.isEqualNode(element)) return before;
      shown.set(element, element.cloneNode(true));
      isAdded ||= !before;
      return element;
    });
  const kept = hasOlder ? [...parent.children].filter((element) => isOlder(element) && !result.includes(element)) : [];
  const all = [...kept, ...result];
  const focused = parent.contains(document.activeElement) ? keyOf(document.activeElement) : "";
  for (const element of [...parent.children]) if (!all.includes(element)) element.remove();
  all.forEach((element, index) => {
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
  for (const element of result) window.htmx?.process(element);
  if (focused && !parent.contains(document.activeElement))
    all
      .find((element) => element.dataset.key === focused)
      ?.querySelector("a.row, button")
      ?.focus();
  return isAdded;
}

function keyOf(element) {
  return element.closest("[data-key]")?.dataset.key ?? "";
}

/** Mark the words that were looked for in the message that was found. */
function markHit() {
  const hit = document.querySelector(".bubble.hit");
  if (!hit) return;
  const words = $("messages").dataset.find.toLowerCase().split(/\s+/).filter(Boolean);
  const walker = document.createTreeWalker(hit.querySelector(".text") ?? hit, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  for (const node of nodes) {
    const text = node.data.toLowerCase();
    const word = words.find((each) => text.length === node.data.length && text.includes(each));
    if (!word) continue;
    const found = node.splitText(text.indexOf(word));
    found.splitText(word.length);
    const mark = document.createElement("mark");
    found.replaceWith(mark);
    mark.append(found);
  }
  isFollowing = false;
  hit.scrollIntoView({ block: "center" });
}

export function startLive() {
  const scroller = $("scroller");
  if (scroller) {
    toEnd();
    markHit();
    // A picture that has loaded, or a long text that was opened, does not push the end out of view.
    new ResizeObserver(() => isFollowing && toEnd()).observe($("messages"));
    scroller.addEventListener("scroll", () => {
      const isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PX;
      if (isAtEnd) $("newest").hidden = true;
      // A picture that loads moves the end away: only who scrolls up leaves it.
      if (isAtEnd || scroller.scrollTop < lastTop) isFollowing = isAtEnd;
      lastTop = scroller.scrollTop;
    });
    $("newest").addEventListener("click", toEnd);
  }
  for (const element of document.querySelectorAll("#rows > *, #messages > *"))
    shown.set(element, element.cloneNode(true));

  // Older messages are put above what one reads: the reading place stays.
  let heightBefore = 0;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.dataset.key === "older") heightBefore = scroller.scrollHeight;
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.closest?.("#messages") && heightBefore) {
      scroller.scrollTop += scroller.scrollHeight - heightBefore;
      heightBefore = 0;
    }
    const list = $("list-body")?.dataset.list;
    if (event.target.id === "list-body" && list) page.list = list;
  });
  document.addEventListener("htmx:responseError", () => pollSoon());
  document.addEventListener("htmx:sendError", () => pollSoon());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) poll();
  });
  window.addEventListener("online", () => poll());
  window.addEventListener("offline", () => poll());
  pollAfter(IDLE_MS);
}
