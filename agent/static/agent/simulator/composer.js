// Writing: what the contact types, and a menu of what else a phone or a bridge can send.
// The events have the form that agent/bridges/simulator.py documents.

import { $, clearError, createElement, sendEvents, showError, state, translate, uploadFile } from "./common.js";
import { lastOutboundMessage, poll } from "./conversation.js";

const MAX_COMPOSER_HEIGHT_PX = 144;
const COUNT_LABELS = { kept: "stored" };

let lastEvent = null; // the message last sent from here, to be repeated, edited or deleted

/** Prepare the composer for the contact in `state`. */
export function resetComposer() {
  const { contact, mayWrite } = state;
  lastEvent = null;
  $("group-writer").hidden = !contact?.is_group;
  for (const id of ["text", "send", "more"]) $(id).disabled = !contact || !mayWrite;
}

function newMessageId() {
  const bytes = [...crypto.getRandomValues(new Uint8Array(10))];
  return bytes
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("")
    .toUpperCase();
}

function messageEvent(fields) {
  const { contact } = state;
  const event = { event: "message", id: newMessageId(), chat: contact.address, sent_at: Date.now(), ...fields };
  if (contact.is_group) {
    event.chat_name = contact.name;
    event.sender = `${$("writer-phone").value.replace(/\D/g, "") || "15550001111"}@s.whatsapp.net`;
    event.name = $("writer-name").value || "Someone";
  } else if (contact.name) {
    event.name = contact.name;
  }
  return event;
}

/** Send the events and show what became of them. Return whether the server took them. */
async function send(...events) {
  try {
    const counts = await sendEvents(events);
    const parts = Object.entries(counts).filter(([, count]) => count);
    $("result").textContent = parts
      .map(([name, count]) => `${count} ${translate(COUNT_LABELS[name] ?? name)}`)
      .join(", ");
    clearError();
    $("scroller").scrollTop = $("scroller").scrollHeight;
    poll();
    return true;
  } catch (error) {
    showError(error);
    return false;
  }
}

async function sendMessage(fields) {
  const event = messageEvent(fields);
  const isSent = await send(event);
  if (isSent) lastEvent = event;
  return isSent;
}

async function submit() {
  const text = $("text").value;
  if (!state.contact || !text.trim()) return;
  clearText();
  if (!(await sendMessage({ text }))) $("text").value = text;
}

function clearText() {
  $("text").value = "";
  fitHeight();
}

function fitHeight() {
  const text = $("text");
  text.style.height = "auto";
  text.style.height = `${Math.min(text.scrollHeight + 2, MAX_COMPOSER_HEIGHT_PX)}px`;
}

/** Return what is typed, and clear it; return the other text if nothing is typed. */
function takeText(otherwise) {
  const typed = $("text").value.trim();
  if (typed) clearText();
  return typed || otherwise;
}

// --- menu ----------------------------------------------------------------------------------------------------------

const minutesAgo = (minutes) => Date.now() - minutes * 60_000;
const sendMedia = (kind, mime_type, filename) => () =>
  sendMessage({ kind, text: takeText(""), media: { mime_type, filename } });
const sendReaction = (emoji, target) => sendMessage({ kind: "reaction", emoji, target_id: target.provider_id });

const PINACOTECA = {
  latitude: -23.5343,
  longitude: -46.6339,
  name: "Pinacoteca",
  address: "Praça da Luz 2, São Paulo",
};
/** Upload the chosen files and send each as a message; what is typed becomes the caption of the first. */
async function sendFiles(files) {
  for (const file of files) {
    $("result").textContent = translate("Uploading {name} …", { name: file.name });
    try {
      const uploaded = await uploadFile(file);
      await sendMessage({ ...uploaded, text: takeText("") });
    } catch (error) {
      $("result").textContent = "";
      showError(error);
      return;
    }
  }
}

const KINDS = {
  "A file of yours …": () => $("file").click(),
  Location: () => sendMessage({ kind: "location", location: PINACOTECA }),
  "Image with a caption": sendMedia("image", "image/jpeg", "photo.jpg"),
  "Voice note": sendMedia("voice", "audio/ogg; codecs=opus", ""),
  Video: sendMedia("video", "video/mp4", "clip.mp4"),
  Document: sendMedia("document", "application/pdf", "order.pdf"),
  Sticker: sendMedia("sticker", "image/webp", ""),
  "Contact card": () => sendMessage({ kind: "contact", contacts: [{ name: "Bea Lima", phone: "+5511977776666" }] }),
  "Unknown kind": () => sendMessage({ kind: "unknown" }),
};
const UNUSUAL = {
  "Three messages in a row": () => {
    const texts = ["Hi!", "I have a question", takeText("Are you open on Saturdays?")];
    return send(...texts.map((text) => messageEvent({ text })));
  },
  "Sent 20 minutes ago": () => sendMessage({ text: takeText("Anybody there?"), sent_at: minutesAgo(20) }),
  "Sent 2 minutes ago": () => sendMessage({ text: takeText("I wrote this two minutes ago."), sent_at: minutesAgo(2) }),
  "From a history sync": () =>
    sendMessage({ text: takeText("From long ago"), history: true, sent_at: minutesAgo(60 * 24 * 30) }),
  "Typed on the agent's own phone": () => sendMessage({ text: takeText("Hello, the owner here."), outbound: true }),
  "Disconnect the number": () => send({ event: "session", status: "disconnected", code: "401" }),
  "Connect the number": () => send({ event: "session", status: "connected", phone: state.session.phone }),
};
const ABOUT_MY_LAST_MESSAGE = {
  "Send it again (same id)": (event) => send(event),
  "Edit it to the typed text": (event) =>
    send({ event: "edit", target_id: event.id, text: takeText(`${event.text ?? ""} (edited)`) }),
  "Delete it for everyone": (event) => send({ event: "revoke", target_id: event.id }),
};
const ABOUT_THE_LAST_ANSWER = {
  "React with 👍": (answer) => sendReaction("👍", answer),
  "Remove the reaction": (answer) => sendReaction("", answer),
  "Reply to it": (answer) => sendMessage({ text: takeText("About this:"), quoted_id: answer.provider_id }),
  "Report that it failed": (answer) =>
    send({ event: "status", id: answer.provider_id, status: "failed", error: "The number is not on WhatsApp." }),
};

/** Fill the list with a button per action. An action gets what `findTarget` returns; without a target nothing is sent. */
function fillMenu(list, actions, findTarget) {
  const items = Object.entries(actions).map(([label, action]) => {
    const button = createElement("button", { type: "button" }, translate(label));
    button.addEventListener("click", () => {
      const target = findTarget?.();
      toggleMenu(false);
      if (findTarget && !target) $("result").textContent = translate("There is none yet.");
      else action(target);
    });
    return createElement("li", {}, button);
  });
  list.replaceChildren(...items);
}

function toggleMenu(isOpen = $("more-menu").hidden) {
  $("more-menu").hidden = !isOpen;
  $("more").setAttribute("aria-expanded", String(isOpen));
}

// --- events --------------------------------------------------------------------------------------------------------

fillMenu($("menu-kinds"), KINDS);
fillMenu($("menu-unusual"), UNUSUAL);
fillMenu($("menu-my-last"), ABOUT_MY_LAST_MESSAGE, () => lastEvent);
fillMenu($("menu-last-answer"), ABOUT_THE_LAST_ANSWER, lastOutboundMessage);
$("more").addEventListener("click", () => toggleMenu());
$("file").addEventListener("change", async () => {
  const files = [...$("file").files];
  $("file").value = "";
  await sendFiles(files);
});
$("text").addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  event.preventDefault();
  sendFiles(files);
});
$("text").addEventListener("input", fitHeight);
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
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") toggleMenu(false);
});
