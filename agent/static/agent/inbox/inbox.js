// The inbox: polls what has changed, sends what is written, and keeps drafts. htmx loads what needs no state.
// HTML comes from our templates, which escape every text.

const $ = (id) => document.getElementById(id);
const { body } = document;
const IDLE_MS = 2050; // at most five requests in ten seconds
const BUSY_MS = 800; // after an action, until its effects have shown
const HIDDEN_MS = 20000;
const BUSY_FOR_MS = 4000;
const csrf = document.querySelector("[name=csrfmiddlewaretoken]").value;
const shown = new WeakMap(); // element -> a copy of what the server sent for it
const draftKey = `inbox draft ${body.dataset.user} ${body.dataset.open}`;
let timer = 0;
let isPolling = false;
let busyUntil = 0;
let messageKey = crypto.randomUUID?.() ?? "";
let quoted = "";
let attached = null;

// --- errors ---------------------------------------------------------------------------------------------------------

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

function say(text, isWrong = false) {
  const element = $("said");
  if (!element) return trouble(isWrong ? text : "");
  element.textContent = text;
  element.hidden = !text;
  element.classList.toggle("wrong", isWrong);
}

/** Ask the server. Returns the JSON, or null for 204. Throws an Error whose message can be shown. */
async function ask(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", redirect: "manual", ...options });
  } catch {
    throw new Error("No connection to the server. Nothing that you typed is lost; trying again …");
  }
  if (response.status === 204) return null;
  let content = {};
  try {
    content = await response.json();
  } catch {
    if (response.ok) throw new Error("The server's answer could not be read.");
  }
  if (!response.ok) throw new Error(content.detail ?? `The server answered ${response.status}. Reload the page.`);
  return content;
}

function post(url, form) {
  return ask(url, { method: "POST", body: form, headers: { "X-CSRFToken": csrf } });
}

// --- polling --------------------------------------------------------------------------------------------------------

function pollAfter(ms) {
  clearTimeout(timer);
  timer = setTimeout(poll, ms);
}

function pollSoon() {
  busyUntil = Date.now() + BUSY_FOR_MS;
  if (!isPolling) poll();
}

async function poll() {
  clearTimeout(timer);
  if (isPolling) return;
  isPolling = true;
  const parameters = new URLSearchParams(location.search);
  const { list, open, seen } = body.dataset;
  for (const [name, value] of Object.entries({ list, open, seen, visible: document.hidden ? "" : "1" }))
    if (value) parameters.set(name, value);
  try {
    const changed = await ask(`${body.dataset.poll}?${parameters}`);
    trouble("");
    if (changed) apply(changed);
  } catch (error) {
    trouble(error.message);
  } finally {
    isPolling = false;
    pollAfter(document.hidden ? HIDDEN_MS : Date.now() < busyUntil ? BUSY_MS : IDLE_MS);
  }
}

function apply(changed) {
  if (changed.rows !== undefined) {
    morph($("rows"), changed.rows);
    $("tabs").replaceChildren(...parse(changed.tabs));
    body.dataset.list = changed.list;
    document.title = `${changed.waiting ? `(${changed.waiting}) ` : ""}${document.title.replace(/^\(\d+\) /, "")}`;
  }
  if (changed.messages === undefined || !$("messages")) return;
  const scroller = $("scroller");
  const wasAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
  const hasNew = morph($("messages"), changed.messages, true);
  for (const id of ["head", "contact"])
    if (!$(id).contains(document.activeElement) || !document.activeElement.matches("input, select, textarea"))
      $(id).replaceChildren(...parse(changed[id]));
  $("activity").textContent = changed.activity;
  body.dataset.seen = changed.seen;
  body.dataset.epoch = changed.epoch;
  if (wasAtEnd) scroller.scrollTop = scroller.scrollHeight;
  else if (hasNew) $("newest").hidden = false;
}

/** Return the elements of a part that our templates made: scripts in it do not run. */
function parse(html) {
  return [...new DOMParser().parseFromString(html, "text/html").body.children];
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
  for (const element of [...parent.children]) if (!all.includes(element)) element.remove();
  all.forEach((element, index) => {
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
  for (const element of result) window.htmx?.process(element);
  return isAdded;
}

// --- writing --------------------------------------------------------------------------------------------------------

const text = $("text");

function grow() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

function keepDraft() {
  try {
    if (text.value) localStorage.setItem(draftKey, text.value);
    else localStorage.removeItem(draftKey);
  } catch {
    // a browser that stores nothing keeps the draft only while the page is open
  }
}

function clearComposer() {
  text.value = "";
  messageKey = crypto.randomUUID?.() ?? "";
  quote("", "");
  attach(null);
  keepDraft();
  grow();
}

function quote(id, words) {
  quoted = id;
  $("quoting").hidden = !id;
  $("quoting").firstElementChild.textContent = words;
}

function attach(file) {
  attached = file;
  $("attached").hidden = !file;
  $("attached").firstElementChild.textContent = file?.name ?? "";
  if (!file) $("file").value = "";
}

async function submitText(url) {
  if (!text.value.trim() && !attached) return;
  const form = new FormData();
  form.set("text", text.value);
  form.set("key", messageKey);
  form.set("epoch", body.dataset.epoch);
  if (quoted) form.set("quoted", quoted);
  if (attached) form.set("file", attached);
  const sent = text.value;
  $("send").disabled = true;
  try {
    const { said } = await post(url, form);
    say(said);
    if (text.value === sent)
      clearComposer(); // what was typed meanwhile is the next message
    else messageKey = crypto.randomUUID?.() ?? "";
    $("scroller").scrollTop = $("scroller").scrollHeight;
  } catch (error) {
    say(error.message, true);
  } finally {
    $("send").disabled = false;
    pollSoon();
  }
}

if (text) {
  try {
    text.value = localStorage.getItem(draftKey) ?? "";
  } catch {
    text.value = "";
  }
  grow();
  text.addEventListener("input", () => {
    grow();
    keepDraft();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!$("send").disabled) $("composer").requestSubmit();
  });
  text.addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0];
    if (file) {
      event.preventDefault();
      attach(file);
    }
  });
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submitText($("composer").action);
  });
  $("as-note").addEventListener("click", () => submitText($("composer").action.replace(/reply\/$/, "note/")));
  $("file").addEventListener("change", () => attach($("file").files[0] ?? null));
  $("quoting").lastElementChild.addEventListener("click", () => quote("", ""));
  $("attached").lastElementChild.addEventListener("click", () => attach(null));
  $("scroller").addEventListener("dragover", (event) => event.preventDefault());
  $("scroller").addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) attach(event.dataTransfer.files[0]);
  });
}

// --- actions --------------------------------------------------------------------------------------------------------

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-act], #new-form")) return;
  event.preventDefault();
  if (form.dataset.ask && !window.confirm(form.dataset.ask)) return;
  const button = event.submitter;
  const place = form.querySelector(".trouble");
  const values = new FormData(form, button?.name ? button : undefined); // a disabled button has no value
  if (button) button.disabled = true;
  try {
    const { said, go } = await post(form.action, values);
    document.activeElement?.blur();
    say(said);
    if (go) location.href = go;
  } catch (error) {
    if (place) {
      place.textContent = error.message;
      place.hidden = false;
    } else say(error.message, true);
  } finally {
    if (button) button.disabled = false;
    pollSoon();
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.quote && text) {
    quote(button.dataset.quote, button.closest(".bubble").querySelector(".text")?.textContent ?? "…");
    text.focus();
  }
  if ("why" in button.dataset) $("why-dialog").showModal();
  if ("more" in button.dataset) button.hidden = true;
  if ("close" in button.dataset) button.closest("dialog").close();
  if (button.id === "new") $("new-dialog").showModal();
  if (button.id === "newest") $("scroller").scrollTop = $("scroller").scrollHeight;
});

$("scroller")?.addEventListener("scroll", () => {
  const scroller = $("scroller");
  if (scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80) $("newest").hidden = true;
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  const rows = [...document.querySelectorAll("#rows .row")];
  const position = rows.findIndex((row) => row === document.activeElement || row.hasAttribute("aria-current"));
  const focused = rows.indexOf(document.activeElement);
  const from = focused >= 0 ? focused : position;
  if (event.key === "j") rows[Math.min(from + 1, rows.length - 1)]?.focus();
  else if (event.key === "k") rows[Math.max(from - 1, 0)]?.focus();
  else if (event.key === "r") text?.focus();
  else if (event.key === "/") $("q").focus();
  else if (event.key === "?") $("keys-dialog").showModal();
  else return;
  event.preventDefault();
});

// Older messages are put above what one reads: the reading place stays.
let heightBefore = 0;
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.dataset.key === "older") heightBefore = $("scroller").scrollHeight;
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.closest?.("#messages") && heightBefore) {
    $("scroller").scrollTop += $("scroller").scrollHeight - heightBefore;
    heightBefore = 0;
  }
  const list = $("list-body")?.dataset.list;
  if (event.target.id === "list-body" && list) body.dataset.list = list;
});
document.addEventListener("htmx:responseError", () => pollSoon());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) poll();
});

if ($("scroller")) $("scroller").scrollTop = $("scroller").scrollHeight;
for (const element of document.querySelectorAll("#rows > *, #messages > *"))
  shown.set(element, element.cloneNode(true));
pollAfter(IDLE_MS);
