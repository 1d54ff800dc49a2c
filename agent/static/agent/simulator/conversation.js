// The chat: polls the conversation, draws what has changed, and sends the receipts that a phone sends by itself.

import {
  $,
  clearError,
  createElement,
  firstLetter,
  formatTime,
  request,
  sendEvents,
  showError,
  showText,
  state,
  translate,
} from "./common.js";

const POLL_INTERVAL_MS = 900;
const BUSY_POLL_INTERVAL_MS = 300; // while an answer is on its way
const MAX_EVENTS_PER_REQUEST = 50; // as in agent/simulator/views.py
const TICKS = { queued: "◷", sending: "◷", sent: "✓", delivered: "✓✓", read: "✓✓" };
const SESSION_STATUSES = { connected: "online", disconnected: "disconnected", logged_out: "logged out" };
const ACTIVITIES = { writing: "writing …", due: "about to answer …", collecting: "waiting for more messages …" };

let entries = [];
let conversation = null; // control, activity and session status, as last received
let versionToken = ""; // names the version that is shown; the server answers 204 while it is the newest
let pollTimer = 0;
let isPolling = false;
const drawnEntries = new WeakMap(); // element -> JSON of the entry it shows
const sentReceipts = new Set();

/** Return the last message of the agent's number, or undefined. */
export const lastOutboundMessage = () =>
  entries.findLast((entry) => entry.direction === "outbound" && entry.provider_id);

/** Show the conversation of the contact in `state`, from nothing. */
export function openConversation() {
  const { session, contact } = state;
  entries = [];
  conversation = null;
  versionToken = "";
  $("chat").replaceChildren();
  showText($("banner"), "");
  clearError();
  $("typing").hidden = true;
  $("title").textContent = session?.title ?? "";
  $("face").textContent = firstLetter(session?.title ?? "");
  $("open-inbox").hidden = true;
  $("hint").textContent = contact ? "" : translate("Choose a contact, or create one.");
  drawSubtitle(session?.status);
  if (contact) poll();
}

/** Poll, and draw everything again even if nothing has changed. */
export function redraw() {
  versionToken = "";
  poll();
}

export function stopPolling() {
  clearTimeout(pollTimer);
}

/** Draw what has changed since the last poll, then poll again after a while. Does nothing while the page is hidden. */
export async function poll() {
  clearTimeout(pollTimer);
  const { contact } = state;
  if (!contact || isPolling || document.hidden) return;
  isPolling = true;
  let isBusy = false;
  try {
    const received = await request(`conversations/${contact.id}/?after=${versionToken}`);
    clearError();
    if (received && contact === state.contact) {
      show(received);
      await sendReceipts();
    }
    isBusy =
      conversation?.activity in ACTIVITIES || entries.some((entry) => ["queued", "sending"].includes(entry.status));
  } catch (error) {
    showError(error);
  } finally {
    isPolling = false;
    if (contact !== state.contact) pollAfter(0);
    else pollAfter(isBusy ? BUSY_POLL_INTERVAL_MS : POLL_INTERVAL_MS);
  }
}

function pollAfter(ms) {
  clearTimeout(pollTimer);
  if (!document.hidden) pollTimer = setTimeout(poll, ms);
}

function show(received) {
  ({ after: versionToken, state: conversation, entries } = received);
  const scroller = $("scroller");
  const distanceToEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
  const wasAtEnd = distanceToEnd < 60 || !$("chat").childElementCount;
  drawEntries(received.is_cut_off);
  $("open-inbox").href = received.inbox;
  $("open-inbox").hidden = false;
  $("hint").textContent = entries.length ? "" : translate("No messages yet. Write one.");
  drawSubtitle(conversation.session_status);
  showText($("banner"), describeControl());
  $("typing").hidden = conversation.activity === "idle";
  $("activity").textContent = translate(ACTIVITIES[conversation.activity] ?? "");
  if (wasAtEnd) scroller.scrollTop = scroller.scrollHeight;
}

function drawSubtitle(status) {
  const { session, contact } = state;
  const place = contact?.is_group ? "in {name}" : "you are {name}";
  const writer = contact ? ` · ${translate(place, { name: contact.title })}` : "";
  $("subtitle").textContent =
    `${translate(SESSION_STATUSES[status] ?? status ?? "")} · ${session?.agent ?? ""}${writer}`;
}

function describeControl() {
  const { control, control_until, control_reason } = conversation;
  if (control === "agent") return "";
  const who = control === "human" ? "A person has taken over; the agent is silent" : "Muted: nobody answers";
  const until = control_until
    ? translate("until {time}", { time: formatTime(control_until) })
    : translate("until released");
  return `${translate(who)} ${until}${control_reason ? ` (${control_reason})` : ""}.`;
}

// --- drawing -------------------------------------------------------------------------------------------------------

function drawEntries(isCutOff) {
  const chat = $("chat");
  const reactions = collectReactions();
  const existing = new Map([...chat.children].map((element) => [element.dataset.id, element]));
  const wanted = [];
  let day = "";
  if (isCutOff) wanted.push(reuseOrDraw(existing, { id: "earlier", type: "earlier" }));
  for (const entry of entries) {
    const entryDay = new Date(entry.at).toLocaleDateString(undefined, {
      weekday: "long",
      day: "numeric",
      month: "long",
    });
    if (entryDay !== day) wanted.push(reuseOrDraw(existing, { id: `day ${entryDay}`, type: "day", text: entryDay }));
    day = entryDay;
    if (entry.kind === "reaction" && isShown(entry.target)) continue;
    wanted.push(reuseOrDraw(existing, { ...entry, reactions: reactions.get(entry.provider_id) ?? "" }));
  }
  const reused = new Set(wanted);
  for (const element of existing.values()) if (!reused.has(element)) element.remove();
  wanted.forEach((element, position) => {
    if (chat.children[position] !== element) chat.insertBefore(element, chat.children[position] ?? null);
  });
}

/** Return the element that shows this entry. An unchanged one is used again: a selection in it survives. */
function reuseOrDraw(existing, entry) {
  const json = JSON.stringify(entry);
  const element = existing.get(entry.id);
  if (element && drawnEntries.get(element) === json) return element;
  const drawn = entry.type === "message" ? drawMessage(entry) : drawNotice(entry);
  drawn.dataset.id = entry.id;
  drawnEntries.set(drawn, json);
  return drawn;
}

function isShown(providerId) {
  return entries.some((entry) => entry.provider_id && entry.provider_id === providerId);
}

/** Return the emoji by the id of the message they stand at; a later reaction of a writer replaces the earlier one. */
function collectReactions() {
  const latest = new Map();
  for (const entry of entries) {
    if (entry.kind === "reaction" && entry.target) latest.set(`${entry.target} ${entry.writer}`, entry);
  }
  const byTarget = new Map();
  for (const { target, emoji } of latest.values()) {
    if (emoji) byTarget.set(target, (byTarget.get(target) ?? "") + emoji);
  }
  return byTarget;
}

function drawNotice(entry) {
  if (entry.type === "day") return createElement("li", { className: "day" }, entry.text);
  if (entry.type === "earlier")
    return createElement("li", { className: "note" }, translate("Earlier messages are in the inbox."));
  const link = createElement("a", { href: entry.admin }, entry.text);
  return createElement("li", { className: `note${entry.outcome === "failed" ? " failed" : ""}` }, link);
}

function drawMessage(entry) {
  const isMine = entry.direction === "inbound";
  const className = `bubble ${isMine ? "mine" : "theirs"} by-${entry.author} ${entry.status}`;
  const item = createElement("li", { className });
  const description = entry.is_revoked ? translate("This message was deleted.") : entry.beside;
  if (!isMine || state.contact?.is_group) item.append(createElement("p", { className: "writer" }, entry.writer));
  if (entry.quoted) item.append(createElement("blockquote", { dir: "auto" }, entry.quoted));
  if (description) item.append(createElement("p", { className: "description" }, description));
  if (entry.text) item.append(createElement("p", { className: "text", dir: "auto" }, ...formatMarkup(entry.text)));
  item.append(drawStatus(entry, isMine));
  if (entry.error) item.append(createElement("p", { className: "error-reason" }, entry.error));
  if (entry.reactions) {
    item.classList.add("has-reactions");
    item.append(createElement("span", { className: "reactions" }, entry.reactions));
  }
  return item;
}

function drawStatus(entry, isMine) {
  const line = createElement("p", { className: "meta" });
  if (entry.is_edited) line.append(createElement("span", {}, translate("edited")));
  const title = new Date(entry.at).toLocaleString();
  line.append(createElement("time", { dateTime: entry.at, title }, formatTime(entry.at)));
  if (isMine) {
    const status = entry.unanswered
      ? translate("not answered: {reason}", { reason: entry.unanswered })
      : entry.status === "received"
        ? translate("received")
        : "";
    if (status) line.append(createElement("span", { className: "state" }, status));
  } else {
    const ticks = TICKS[entry.status];
    if (ticks) line.append(createElement("span", { className: "ticks", ariaHidden: "true" }, ticks));
    line.append(createElement("span", { className: "state" }, entry.status_words.toLowerCase()));
  }
  return line;
}

/** Return the text as strings and elements, by WhatsApp's markup: *bold*, _italic_, ~struck~, ```code``` and `code`. */
function formatMarkup(text) {
  const pattern =
    /(```[\s\S]+?```|`[^`\n]+`|(?<![\w*])\*[^*\n]+\*(?![\w*])|(?<!\w)_[^_\n]+_(?!\w)|(?<!\w)~[^~\n]+~(?!\w))/g;
  return text.split(pattern).map((part, index) => {
    if (index % 2 === 0) return part;
    const tag = { "*": "strong", _: "em", "~": "s", "`": "code" }[part[0]];
    const inner = part.startsWith("```") ? part.slice(3, -3) : part.slice(1, -1);
    return createElement(tag, {}, inner);
  });
}

// --- receipts ------------------------------------------------------------------------------------------------------

/** Send `delivered` for new messages, and `read` if the page is visible and read receipts are on. Once each. */
async function sendReceipts() {
  if (!state.mayWrite) return;
  const isRead = $("read-receipts").checked && !document.hidden;
  const receipts = [];
  for (const { type, direction, provider_id: id, status } of entries) {
    if (type !== "message" || direction !== "outbound" || !id) continue;
    if (status === "sent") receipts.push({ event: "status", id, status: "delivered" });
    if (isRead && ["sent", "delivered"].includes(status)) receipts.push({ event: "status", id, status: "read" });
  }
  const keyOf = ({ id, status }) => `${id} ${status}`;
  const unsent = receipts.filter((receipt) => !sentReceipts.has(keyOf(receipt))).slice(0, MAX_EVENTS_PER_REQUEST);
  if (!unsent.length) return;
  await sendEvents(unsent);
  for (const receipt of unsent) sentReceipts.add(keyOf(receipt));
}
