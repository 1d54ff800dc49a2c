// The phone simulator: sends the events that a bridge would send, and polls for what became of them.
// This module: which number and which contact, their lists and dialogs. It loads the others.

import { $, clearError, createElement, firstLetter, request, showError, showText, state, translate } from "./common.js";
import { resetComposer } from "./composer.js";
import { openConversation, poll, redraw, stopPolling } from "./conversation.js";

const SEARCH_DELAY_MS = 250;
const SELF_CHECK_SESSION = "self-check"; // as in agent/server/self_check.py

// The chosen session and contact stand in the address, so that they survive a reload: #<session>/<contact>
function readAddress() {
  const [sessionId, contactId] = location.hash.slice(1).split("/");
  return { sessionId, contactId };
}

function writeAddress() {
  history.replaceState(null, "", `#${state.session?.id ?? ""}/${state.contact?.id ?? ""}`);
}

// --- sessions ------------------------------------------------------------------------------------------------------

/** Load the sessions and choose one; create the session "main" if there is none. */
async function loadSessions(chosenId) {
  const { sessions, may_write: mayWrite } = await request("sessions/");
  Object.assign(state, { sessions, mayWrite });
  for (const id of ["new-session", "new-contact"]) $(id).disabled = !mayWrite;
  if (!sessions.length && !mayWrite)
    throw new Error(translate("There is no number yet. Creating one requires the role operator."));
  if (!sessions.length) {
    await request("sessions/", { method: "POST", body: { name: "main" } });
    return loadSessions();
  }
  const options = sessions.map(({ id, name, phone }) => new Option(phone ? `${name} · ${phone}` : name, id));
  $("session").replaceChildren(...options);
  const chosen = sessions.find(({ id }) => id === chosenId);
  await chooseSession(chosen ?? sessions.find(({ name }) => name !== SELF_CHECK_SESSION) ?? sessions[0]);
}

async function chooseSession(session) {
  Object.assign(state, { session, contact: null });
  $("session").value = session.id;
  await loadContacts();
  const { contactId } = readAddress();
  chooseContact(state.contacts.find(({ id }) => id === contactId) ?? state.contacts[0] ?? null);
}

// --- contacts ------------------------------------------------------------------------------------------------------

async function loadContacts() {
  const search = $("search").value.trim();
  const query = search ? `?q=${encodeURIComponent(search)}` : "";
  ({ contacts: state.contacts } = await request(`sessions/${state.session.id}/contacts/${query}`));
  drawContacts();
}

function drawContacts() {
  const items = state.contacts.map((contact) => {
    const face = createElement("span", { className: "face", ariaHidden: "true" }, firstLetter(contact.title));
    const title = createElement("strong", {}, contact.title);
    const subtitle = contact.is_group ? translate("group") : contact.phone || translate("hidden number");
    const names = createElement(
      "span",
      { className: "names" },
      title,
      createElement("span", { className: "quiet" }, subtitle),
    );
    const button = createElement("button", { type: "button" }, face, names);
    if (contact.id === state.contact?.id) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => chooseContact(contact, { open: true }));
    return createElement("li", {}, button);
  });
  const hint = $("search").value
    ? translate("No contact found.")
    : translate("No contacts yet. Create one with “New”.");
  if (!items.length) items.push(createElement("li", { className: "hint" }, hint));
  $("contacts").replaceChildren(...items);
}

/** Write as this contact. `open` shows the chat on a narrow screen, which has no room for both. */
function chooseContact(contact, { open = false } = {}) {
  state.contact = contact;
  $("layout").classList.toggle("in-chat", open);
  drawContacts();
  writeAddress();
  resetComposer();
  openConversation();
  if (contact && matchMedia("(min-width: 46rem)").matches) $("text").focus();
}

// --- dialogs -------------------------------------------------------------------------------------------------------

/** Call `onOk` with the form's values when it is confirmed; show its error in the dialog. Return what opens it. */
function setUpDialog(id, onOk) {
  const dialog = $(id);
  const form = dialog.querySelector("form");
  const error = dialog.querySelector(".error");
  form.addEventListener("submit", async (event) => {
    if (event.submitter?.value !== "ok") return;
    event.preventDefault();
    try {
      await onOk(Object.fromEntries(new FormData(form)));
      form.reset();
      showText(error, "");
      dialog.close();
    } catch (exc) {
      showText(error, exc.message);
    }
  });
  return () => dialog.showModal();
}

const openSessionDialog = setUpDialog("session-dialog", async ({ name }) => {
  const created = await request("sessions/", { method: "POST", body: { name } });
  await loadSessions(created.id);
});

const openContactDialog = setUpDialog("contact-dialog", async ({ name, phone, kind }) => {
  const body = { name, phone, kind };
  const created = await request(`sessions/${state.session.id}/contacts/`, { method: "POST", body });
  $("search").value = "";
  await loadContacts();
  chooseContact(state.contacts.find(({ id }) => id === created.id) ?? created, { open: true });
});

function showPhoneField(kind) {
  $("contact-dialog").querySelector("[name=phone]").closest("label").hidden = kind !== "person";
}

// --- events --------------------------------------------------------------------------------------------------------

let searchTimer = 0;

$("session").addEventListener("change", ({ target }) => {
  const session = state.sessions.find(({ id }) => id === target.value);
  chooseSession(session).catch(showError);
});
$("search").addEventListener("input", () => {
  clearTimeout(searchTimer);
  searchTimer = setTimeout(() => loadContacts().then(clearError, showError), SEARCH_DELAY_MS);
});
$("new-session").addEventListener("click", openSessionDialog);
$("new-contact").addEventListener("click", openContactDialog);
$("contact-dialog")
  .querySelector("[name=kind]")
  .addEventListener("change", ({ target }) => showPhoneField(target.value));
$("contact-dialog")
  .querySelector("form")
  .addEventListener("reset", () => showPhoneField("person"));
$("back").addEventListener("click", () => $("layout").classList.remove("in-chat"));
$("read-receipts").addEventListener("change", redraw);
document.addEventListener("visibilitychange", () => (document.hidden ? stopPolling() : poll()));
loadSessions(readAddress().sessionId).catch(showError);
