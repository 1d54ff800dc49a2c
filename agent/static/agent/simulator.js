// The phone in the browser: it writes events as a bridge would, and asks every moment what has become of them.
// What comes from the server is put into the page as text, never as markup.

const LOOK_EVERY_MS = 900;
const LOOK_SOON_MS = 300; // while an answer is on its way
const TICKS = { queued: "◷", sending: "◷", sent: "✓", delivered: "✓✓", read: "✓✓" };
const SESSION_WORDS = { connected: "online", disconnected: "disconnected", logged_out: "logged out" };

const $ = (id) => document.getElementById(id);
const base = document.body.dataset.base;
const csrf = document.querySelector("[name=csrfmiddlewaretoken]").value;

let sessions = [];
let mayWrite = true;
let contacts = [];
let session = null;
let contact = null;
let after = ""; // what was last shown, as the server calls it
let entries = [];
let lastSent = null; // the event last written here, to be repeated, edited or taken back
let timer = 0;
let looking = false;
const receipted = new Set();

// --- asking the server ---------------------------------------------------------------------------------------------

async function ask(path, { method = "GET", body } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    headers["X-CSRFToken"] = csrf;
  }
  let answer;
  try {
    answer = await fetch(base + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin" });
  } catch {
    throw new Error("The server does not answer. Trying again …");
  }
  if (answer.status === 204) return null;
  let content = null;
  try {
    content = await answer.json();
  } catch {
    throw new Error(answer.status === 403 ? "Load the page again: its key has expired." : `The server answered ${answer.status}.`);
  }
  if (!answer.ok) throw new Error(content.detail ?? `The server answered ${answer.status}.`);
  return content;
}

function tell(element, words) {
  element.textContent = words ?? "";
  element.hidden = !words;
}

// --- numbers and contacts ------------------------------------------------------------------------------------------

function remembered() {
  const [sessionId, contactId] = location.hash.slice(1).split("/");
  return { sessionId, contactId };
}

function remember() {
  history.replaceState(null, "", `#${session?.id ?? ""}/${contact?.id ?? ""}`);
}

async function loadSessions(chosenId) {
  ({ sessions, may_write: mayWrite } = await ask("sessions/"));
  const real = sessions.filter((one) => one.name !== "self-check");
  for (const id of ["new-session", "new-contact"]) $(id).disabled = !mayWrite;
  if (!sessions.length && !mayWrite) throw new Error("There is no number yet, and to make one takes the role operator.");
  if (!sessions.length) {
    await ask("sessions/", { method: "POST", body: { name: "main" } });
    return loadSessions();
  }
  $("session").replaceChildren(...sessions.map((one) => new Option(one.phone ? `${one.name} · ${one.phone}` : one.name, one.id)));
  await chooseSession(sessions.find((one) => one.id === chosenId) ?? real[0] ?? sessions[0]);
}

async function chooseSession(chosen) {
  session = chosen;
  contact = null;
  $("session").value = session.id;
  await loadContacts();
  const { contactId } = remembered();
  chooseContact(contacts.find((one) => one.id === contactId) ?? contacts[0] ?? null);
}

async function loadContacts() {
  const words = $("find").value.trim();
  const query = words ? `?q=${encodeURIComponent(words)}` : "";
  ({ contacts } = await ask(`sessions/${session.id}/contacts/${query}`));
  drawContacts();
}

function drawContacts() {
  const rows = contacts.map((one) => {
    const button = make("button", { type: "button" }, make("span", { className: "face", ariaHidden: "true" }, initial(one.title)));
    const below = one.is_group ? "group" : one.phone || "hidden number";
    button.append(make("span", { className: "names" }, make("strong", {}, one.title), make("span", { className: "quiet" }, below)));
    if (one.id === contact?.id) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => chooseContact(one, { open: true }));
    return make("li", {}, button);
  });
  $("contacts").replaceChildren(...rows);
  if (!rows.length) $("contacts").append(make("li", { className: "hint" }, $("find").value ? "Nobody of that name." : "Nobody yet. Make somebody with “New”."));
}

function chooseContact(chosen, { open = false } = {}) {
  contact = chosen;
  after = "";
  entries = [];
  lastSent = null;
  $("chat").replaceChildren();
  tell($("banner"), "");
  tell($("trouble"), "");
  $("typing").hidden = true;
  $("layout").classList.toggle("in-chat", open);
  $("title").textContent = session?.title ?? "";
  $("face").textContent = initial(session?.title ?? "");
  $("group-writer").hidden = !contact?.is_group;
  $("open-admin").hidden = true;
  for (const id of ["text", "send", "more"]) $(id).disabled = !contact || !mayWrite;
  $("hint").textContent = contact ? "" : "Choose who writes, or make somebody new.";
  drawContacts();
  drawSubtitle();
  remember();
  if (contact) {
    look();
    if (matchMedia("(min-width: 46rem)").matches) $("text").focus();
  }
}

function drawSubtitle(status = session?.status) {
  const writer = contact ? (contact.is_group ? ` · in ${contact.title}` : ` · you are ${contact.title}`) : "";
  $("subtitle").textContent = `${SESSION_WORDS[status] ?? status ?? ""} · ${session?.agent ?? ""}${writer}`;
}

// --- what was said -------------------------------------------------------------------------------------------------

function lookIn(ms) {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(look, ms);
}

async function look() {
  clearTimeout(timer);
  if (!contact || looking || document.hidden) return;
  looking = true;
  const wanted = contact;
  let soon = false;
  try {
    const found = await ask(`conversations/${wanted.id}/?after=${after}`);
    tell($("trouble"), "");
    if (found && wanted === contact) {
      show(found);
      await sendReceipts();
    }
    soon = ["due", "writing", "collecting"].includes(state?.activity) || entries.some((entry) => ["queued", "sending"].includes(entry.status));
  } catch (error) {
    tell($("trouble"), error.message);
  } finally {
    looking = false;
    lookIn(wanted === contact ? (soon ? LOOK_SOON_MS : LOOK_EVERY_MS) : 0);
  }
}

let state = null;

function show(found) {
  ({ after, state, entries } = found);
  const scroller = $("scroller");
  const wasAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60 || !$("chat").childElementCount;
  draw(found.is_cut_off);
  $("open-admin").href = found.admin;
  $("open-admin").hidden = false;
  $("hint").textContent = entries.length ? "" : "Nothing has been said yet. Write something.";
  drawSubtitle(state.session_status);
  tell($("banner"), bannerWords());
  $("typing").hidden = state.activity === "idle";
  $("typing-words").textContent = { writing: "writing …", due: "about to answer …", collecting: "waits whether there is more …" }[state.activity] ?? "";
  if (wasAtEnd) scroller.scrollTop = scroller.scrollHeight;
}

function bannerWords() {
  if (state.control === "agent") return "";
  const until = state.control_until ? `until ${clock(state.control_until)}` : "until released";
  const who = state.control === "human" ? "A person has taken over; the agent is silent" : "Muted: nobody answers";
  return `${who} ${until}${state.control_reason ? ` (${state.control_reason})` : ""}.`;
}

const drawn = new WeakMap(); // element -> what it shows

function draw(isCutOff) {
  const chat = $("chat");
  const reactions = reactionsByTarget();
  const present = new Map([...chat.children].map((element) => [element.dataset.id, element]));
  const wanted = [];
  let day = "";
  if (isCutOff) wanted.push(keep(present, { id: "earlier", type: "earlier" }));
  for (const entry of entries) {
    const entryDay = new Date(entry.at).toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long" });
    if (entryDay !== day) wanted.push(keep(present, { id: `day ${entryDay}`, type: "day", text: entryDay }));
    day = entryDay;
    if (entry.kind === "reaction" && isShown(entry.target)) continue;
    wanted.push(keep(present, { ...entry, reactions: reactions.get(entry.provider_id) ?? "" }));
  }
  const kept = new Set(wanted);
  for (const element of present.values()) if (!kept.has(element)) element.remove();
  wanted.forEach((element, place) => {
    if (chat.children[place] !== element) chat.insertBefore(element, chat.children[place] ?? null);
  });
}

function keep(present, entry) {
  const looks = JSON.stringify(entry);
  const before = present.get(entry.id);
  if (before && drawn.get(before) === looks) return before;
  const element = entry.type === "message" ? bubble(entry) : notice(entry);
  element.dataset.id = entry.id;
  drawn.set(element, looks);
  return element;
}

function isShown(providerId) {
  return entries.some((entry) => entry.provider_id && entry.provider_id === providerId);
}

function reactionsByTarget() {
  const byWriter = new Map();
  for (const entry of entries) if (entry.kind === "reaction" && entry.target) byWriter.set(`${entry.target} ${entry.writer}`, entry);
  const found = new Map();
  for (const { target, emoji } of byWriter.values()) if (emoji) found.set(target, (found.get(target) ?? "") + emoji);
  return found;
}

function notice(entry) {
  if (entry.type === "day") return make("li", { className: "day" }, entry.text);
  if (entry.type === "earlier") return make("li", { className: "note" }, "Earlier messages are in the admin.");
  const link = make("a", { href: entry.admin }, entry.text);
  return make("li", { className: `note${entry.outcome === "failed" ? " trouble" : ""}` }, link);
}

function bubble(entry) {
  const isMine = entry.direction === "inbound";
  const item = make("li", { className: `bubble ${isMine ? "mine" : "theirs"} by-${entry.author} ${entry.status}` });
  if (!isMine || contact?.is_group) item.append(make("p", { className: "writer" }, entry.writer));
  if (entry.quoted) item.append(make("blockquote", { dir: "auto" }, entry.quoted));
  if (entry.is_revoked) item.append(make("p", { className: "beside" }, "This message was taken back."));
  if (entry.beside && !entry.is_revoked) item.append(make("p", { className: "beside" }, entry.beside));
  if (entry.text) item.append(make("p", { className: "words", dir: "auto" }, ...markup(entry.text)));
  item.append(meta(entry, isMine));
  if (entry.error) item.append(make("p", { className: "why" }, entry.error));
  if (entry.reactions) {
    item.classList.add("has-reactions");
    item.append(make("span", { className: "reactions" }, entry.reactions));
  }
  return item;
}

function meta(entry, isMine) {
  const line = make("p", { className: "meta" });
  if (entry.is_edited) line.append(make("span", {}, "edited"));
  line.append(make("time", { dateTime: entry.at, title: new Date(entry.at).toLocaleString() }, clock(entry.at)));
  if (isMine) {
    const words = entry.unanswered ? `not answered: ${entry.unanswered}` : entry.status === "received" ? "kept" : "";
    if (words) line.append(make("span", { className: "state" }, words));
  } else {
    const ticks = TICKS[entry.status];
    if (ticks) line.append(make("span", { className: "ticks", ariaHidden: "true" }, ticks));
    line.append(make("span", { className: "state" }, entry.status_words.toLowerCase()));
  }
  return line;
}

// WhatsApp's own markup: *bold*, _italic_, ~struck~, ```code``` and `code`.
function markup(text) {
  const pattern = /(```[\s\S]+?```|`[^`\n]+`|(?<![\w*])\*[^*\n]+\*(?![\w*])|(?<!\w)_[^_\n]+_(?!\w)|(?<!\w)~[^~\n]+~(?!\w))/g;
  return text.split(pattern).map((part, place) => {
    if (place % 2 === 0) return part;
    const tag = { "*": "strong", _: "em", "~": "s", "`": "code" }[part[0]];
    const inner = part.startsWith("```") ? part.slice(3, -3) : part.slice(1, -1);
    return make(tag, {}, inner);
  });
}

// What a phone does by itself: it has received what it shows, and its owner reads it.
async function sendReceipts() {
  if (!mayWrite) return;
  const batch = [];
  for (const entry of entries) {
    if (entry.type !== "message" || entry.direction !== "outbound" || !entry.provider_id) continue;
    if (entry.status === "sent") note(batch, entry, "delivered");
    if (["sent", "delivered"].includes(entry.status) && $("reads").checked && !document.hidden) note(batch, entry, "read");
  }
  if (!batch.length) return;
  await ask(`sessions/${session.id}/events/`, { method: "POST", body: batch.slice(0, 50) });
}

function note(batch, entry, status) {
  const key = `${entry.id} ${status}`;
  if (receipted.has(key)) return;
  receipted.add(key);
  batch.push({ event: "status", id: entry.provider_id, status });
}

// --- writing -------------------------------------------------------------------------------------------------------

function newId() {
  return [...crypto.getRandomValues(new Uint8Array(10))].map((byte) => byte.toString(16).padStart(2, "0")).join("").toUpperCase();
}

function messageEvent(fields) {
  const event = { event: "message", id: newId(), chat: contact.address, sent_at: Date.now(), ...fields };
  if (contact.is_group) {
    event.chat_name = contact.name;
    event.sender = `${$("writer-phone").value.replace(/\D/g, "") || "15550001111"}@s.whatsapp.net`;
    event.name = $("writer-name").value || "Someone";
  } else if (contact.name) {
    event.name = contact.name;
  }
  return event;
}

async function post(...batch) {
  try {
    const counts = await ask(`sessions/${session.id}/events/`, { method: "POST", body: batch });
    const words = Object.entries(counts).filter(([, count]) => count).map(([what, count]) => `${count} ${what}`);
    $("result").textContent = `the webhook says: ${words.join(", ")}`;
    tell($("trouble"), "");
    $("scroller").scrollTop = $("scroller").scrollHeight;
    look();
    return true;
  } catch (error) {
    tell($("trouble"), error.message);
    return false;
  }
}

async function say(fields) {
  const event = messageEvent(fields);
  if (await post(event)) lastSent = event;
}

function typedOr(words) {
  const typed = $("text").value.trim();
  if (typed) {
    $("text").value = "";
    grow();
  }
  return typed || words;
}

const lastFromAgent = () => entries.findLast((entry) => entry.direction === "outbound" && entry.provider_id);
const minutesAgo = (minutes) => Date.now() - minutes * 60_000;
const media = (kind, mime_type, filename) => () => say({ kind, text: typedOr(""), media: { mime_type, filename } });

const KINDS = {
  "Location": () => say({ kind: "location", location: { latitude: -23.5343, longitude: -46.6339, name: "Pinacoteca", address: "Praça da Luz 2, São Paulo" } }),
  "Image, with what is typed": media("image", "image/jpeg", "photo.jpg"),
  "Voice note": media("voice", "audio/ogg; codecs=opus", ""),
  "Video": media("video", "video/mp4", "clip.mp4"),
  "Document": media("document", "application/pdf", "order.pdf"),
  "Sticker": media("sticker", "image/webp", ""),
  "Contact card": () => say({ kind: "contact", contacts: [{ name: "Bea Lima", phone: "+5511977776666" }] }),
  "Something unknown": () => say({ kind: "unknown" }),
};
const ODD = {
  "Three messages in a row": async () => post(...["Hi!", "I have a question", typedOr("Are you open on Saturdays?")].map((text) => messageEvent({ text }))),
  "An old message (20 minutes)": () => say({ text: typedOr("Anybody there?"), sent_at: minutesAgo(20) }),
  "A late message (2 minutes)": () => say({ text: typedOr("I wrote this two minutes ago."), sent_at: minutesAgo(2) }),
  "History being synchronised": () => say({ text: typedOr("From long ago"), history: true, sent_at: minutesAgo(60 * 24 * 30) }),
  "Typed on the agent's own phone": () => say({ text: typedOr("Hello, the owner here."), outbound: true }),
  "The number loses its link": () => post({ event: "session", status: "disconnected", code: "401" }),
  "The number is linked again": () => post({ event: "session", status: "connected", phone: session.phone }),
};
const LAST = {
  "Deliver it once more": () => lastSent && post(lastSent),
  "Edit it to what is typed": () => lastSent && post({ event: "edit", target_id: lastSent.id, text: typedOr(`${lastSent.text ?? ""} (edited)`) }),
  "Take it back": () => lastSent && post({ event: "revoke", target_id: lastSent.id }),
  "👍 to the last answer": () => react("👍"),
  "Take 👍 back": () => react(""),
  "Reply to the last answer": () => lastFromAgent() && say({ text: typedOr("About this:"), quoted_id: lastFromAgent().provider_id }),
  "The last answer failed after all": () => lastFromAgent() && post({ event: "status", id: lastFromAgent().provider_id, status: "failed", error: "The number is not on WhatsApp." }),
};

const react = (emoji) => lastFromAgent() && say({ kind: "reaction", emoji, target_id: lastFromAgent().provider_id });

function fillMenu(list, acts) {
  list.replaceChildren(
    ...Object.entries(acts).map(([words, act]) => {
      const button = make("button", { type: "button" }, words);
      button.addEventListener("click", () => (act() ? toggleMenu(false) : ($("result").textContent = "There is none yet.")));
      return make("li", {}, button);
    }),
  );
}

function toggleMenu(open = $("more-menu").hidden) {
  $("more-menu").hidden = !open;
  $("more").setAttribute("aria-expanded", String(open));
}

function grow() {
  const text = $("text");
  text.style.height = "auto";
  text.style.height = `${Math.min(text.scrollHeight + 2, 144)}px`;
}

async function submit() {
  const text = $("text").value;
  if (!contact || !text.trim()) return;
  $("text").value = "";
  grow();
  const event = messageEvent({ text });
  if (await post(event)) lastSent = event;
  else $("text").value = text;
}

// --- dialogs -------------------------------------------------------------------------------------------------------

function dialog(id, onOk) {
  const box = $(id);
  const form = box.querySelector("form");
  const trouble = box.querySelector(".trouble");
  form.addEventListener("submit", async (event) => {
    if (event.submitter?.value !== "ok") return;
    event.preventDefault();
    try {
      await onOk(Object.fromEntries(new FormData(form)));
      form.reset();
      tell(trouble, "");
      box.close();
    } catch (error) {
      tell(trouble, error.message);
    }
  });
  return () => box.showModal();
}

const askSession = dialog("ask-session", async ({ name }) => {
  const made = await ask("sessions/", { method: "POST", body: { name } });
  await loadSessions(made.id);
});
const askContact = dialog("ask-contact", async ({ name, phone, kind }) => {
  const made = await ask(`sessions/${session.id}/contacts/`, { method: "POST", body: { name, phone, kind } });
  $("find").value = "";
  await loadContacts();
  chooseContact(contacts.find((one) => one.id === made.id) ?? made, { open: true });
});
$("ask-contact").querySelector("[name=kind]").addEventListener("change", ({ target }) => showPhoneFor(target.value));
$("ask-contact").querySelector("form").addEventListener("reset", () => showPhoneFor("person"));

function showPhoneFor(kind) {
  $("ask-contact").querySelector("[name=phone]").closest("label").hidden = kind !== "person";
}

// --- small things --------------------------------------------------------------------------------------------------

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const initial = (name) => [...name.replace(/^\+/, "")][0]?.toUpperCase() ?? "?";
const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

// --- start ---------------------------------------------------------------------------------------------------------

fillMenu($("menu-kinds"), KINDS);
fillMenu($("menu-odd"), ODD);
fillMenu($("menu-last"), LAST);
$("session").addEventListener("change", () => chooseSession(sessions.find((one) => one.id === $("session").value)).catch((error) => tell($("trouble"), error.message)));
$("new-session").addEventListener("click", askSession);
$("new-contact").addEventListener("click", askContact);
let findTimer = 0;
$("find").addEventListener("input", () => {
  clearTimeout(findTimer);
  findTimer = setTimeout(() => loadContacts().catch((error) => tell($("trouble"), error.message)), 250);
});
$("back").addEventListener("click", () => $("layout").classList.remove("in-chat"));
$("more").addEventListener("click", () => toggleMenu());
$("text").addEventListener("input", grow);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  }
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("reads").addEventListener("change", () => {
  after = "";
  look();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") toggleMenu(false);
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
loadSessions(remembered().sessionId).catch((error) => tell($("trouble"), error.message));
