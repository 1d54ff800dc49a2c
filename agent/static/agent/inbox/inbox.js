// The inbox: what is clicked and pressed. Polling is in live.js, writing in composer.js; htmx loads what needs no state.

import { startAlerts } from "./alerts.js";
import { askFor, newKey, quote, startComposer, wordsOf } from "./composer.js";
import { pollSoon, startLive } from "./live.js";
import { renew, settle } from "./panes.js";
import { $, page, post, say, strings } from "./server.js";
import { startVoice } from "./voice.js";

const text = $("text");
const tried = new Map(); // the key of a message -> what was sent under it, perhaps in vain

/** Do what a form asks for, and say what came of it: in the form's own place, or below the conversation. */
async function act(form, values, button = null) {
  const dialog = form.closest("dialog");
  const place = (form.querySelector(".trouble") ? form : dialog)?.querySelector(".trouble");
  if (place) place.hidden = true;
  if (dialog && form.elements.key) renewKey(form.elements.key, values);
  if (button) button.disabled = true;
  try {
    const { said, go } = await post(form.action, values);
    if (dialog) form.reset(); // to what was there before it was typed in
    settle(form);
    if (!text?.matches(":focus")) document.activeElement?.blur();
    dialog?.close();
    say(said);
    if (go) location.href = go;
  } catch (error) {
    if (error.code === "conflict") renew(form);
    if (place) {
      place.textContent = error.message;
      place.hidden = false;
    } else say(error.message, true);
  } finally {
    if (button) button.disabled = false;
    pollSoon();
  }
}

/** Under one key the server takes one message: what was changed after a try is another. */
function renewKey(field, values) {
  values.delete("key");
  const content = new URLSearchParams(values).toString();
  if ((tried.get(field.value) ?? content) !== content) field.value = newKey();
  tried.set(field.value, content);
  values.set("key", field.value);
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-act], #new-form")) return;
  event.preventDefault();
  if (form.dataset.ask && !window.confirm(form.dataset.ask)) return;
  const button = event.submitter;
  act(form, new FormData(form, button?.name ? button : undefined), button); // a disabled button has no value
});

document.addEventListener("change", (event) => {
  const field = event.target;
  if (field.matches("[data-submit]")) field.form.requestSubmit();
  if (field.matches("[data-until]") && field.value) {
    const values = new FormData(field.form);
    values.set("to", "human");
    act(field.form, values);
  }
});

/** Open a dialog. Its form is about the message `row`, and a new message of its own under a new key. What htmx loads
 * into it is that of another message until it has come. */
function openDialog(dialog, row) {
  for (const place of dialog.querySelectorAll("[data-loaded]")) place.textContent = strings.working;
  const values = { key: newKey(), epoch: page.epoch, row };
  for (const [name, value] of Object.entries(values)) {
    const field = dialog.querySelector(`input[type=hidden][name=${name}]`);
    if (field && value !== undefined) field.value = value;
  }
  for (const place of dialog.querySelectorAll(".trouble")) place.hidden = true;
  for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const jump = event.target.closest("[data-jump]");
  if (jump && $(jump.hash.slice(1))) {
    event.preventDefault();
    $(jump.hash.slice(1)).scrollIntoView({ block: "center" });
  } else if (jump) jump.href = `?at=${jump.hash.slice(3)}`; // not loaded: the page around it
  const button = event.target.closest("button");
  if (!button) return;
  const { dataset } = button;
  if (dataset.quote && text) {
    quote(dataset.quote, wordsOf(button.closest(".bubble")));
    text.focus();
  }
  if (dataset.askFor) askFor(button);
  if (dataset.openDialog) openDialog($(dataset.openDialog), dataset.row);
  if ("close" in dataset) button.closest("dialog").close();
  if ("about" in dataset) $("contact").classList.toggle("is-open");
});

/** Say why htmx could not load something: where it was to be shown, or below the conversation. */
function sayWhyNot({ elt, target, xhr }) {
  let why = strings.offline;
  try {
    if (xhr.status) why = JSON.parse(xhr.responseText).detail;
  } catch {
    why = `${strings.answered} (${xhr.status})`;
  }
  const dialog = (target ?? elt).closest("dialog");
  if (!dialog) return say(why, true);
  for (const place of dialog.querySelectorAll("[data-loaded]")) if (place === target) place.textContent = "";
  const place = dialog.querySelector(".trouble");
  place.textContent = why;
  place.hidden = false;
}

for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"])
  document.addEventListener(name, (event) => sayWhyNot(event.detail));
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const { elt } = detail.requestConfig;
  if (detail.shouldSwap && elt.matches("[data-more]")) elt.hidden = true;
});

/** Close the menu, and the contact's pane where it lies over the conversation: all but what was just clicked in. */
function closeOpened(clicked = []) {
  const opened = [...document.querySelectorAll("details.menu[open], .contact.is-open")];
  for (const element of opened.filter((each) => !clicked.includes(each))) {
    if (element.matches("details")) element.open = false;
    else element.classList.remove("is-open");
  }
  return opened.length > 0;
}

document.addEventListener(
  "click",
  (event) => {
    if (!event.target.closest("dialog, [data-about]")) closeOpened(event.composedPath());
  },
  true, // before what is clicked can leave the page
);

// --- keys -----------------------------------------------------------------------------------------------------------

function moveFocus(by) {
  const rows = [...document.querySelectorAll("#rows .row")];
  const focused = rows.indexOf(document.activeElement);
  const current = rows.findIndex((row) => row.hasAttribute("aria-current"));
  const from = focused >= 0 ? focused : current;
  rows[Math.min(Math.max(from + by, 0), rows.length - 1)]?.focus();
}

const KEYS = {
  j: () => moveFocus(1),
  k: () => moveFocus(-1),
  r: () => text?.focus(),
  a: () => $("assign-me")?.requestSubmit(),
  e: () => $("done-form")?.requestSubmit(),
  t: () => document.querySelector("#head button[name=to]")?.click(),
  "/": () => $("q").focus(),
  "?": () => $("keys-dialog").showModal(),
};

document.addEventListener("keydown", (event) => {
  const isInDialog = document.querySelector("dialog[open]");
  if (event.key === "Escape" && !isInDialog && closeOpened()) return;
  const isTyping = event.target.matches("input, textarea, select") || isInDialog;
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

startComposer();
startVoice();
startAlerts();
startLive();
