// Writing: drafts that survive a reload, files, quotes, saved replies and emoji. What is typed is cleared only once
// the server has it.

import { pollSoon, toEnd } from "./live.js";
import { $, ask, page, post, say, shared, strings } from "./server.js";

const EMOJI = [
  ..."😀😄😅😂🙂😉😊😍😘🤔😎😢😭😡😮🥳🙏👍👎👏🙌💪👋🤝👌✌❤💚💙⭐🔥🎉🎁✅❌⚠❓❗📞📷📍📦🚚🛒💳💶🕒📅🌞🌧☕🍕🐶🌸",
];
const REPLIES_MS = 150;
const MAX_FILES = 30;
// A 4xx that is not the server's last word on what was sent: logged out, too slow, too early, too often.
const RETRY_LATER = [401, 408, 425, 429];
const text = $("text");
const draftKey = `inbox draft ${page.user} ${page.open}`;
let plain = newMessage(null); // the message that is written without a file
let files = []; // each attached file is a message of its own
let quoted = "";
let repliesTimer = 0;
let result = newMessage(null); // what a button of the model has brought, once it is sent

/** `tried` is what was sent under the key, perhaps in vain; `error` is why the server refused it. */
function newMessage(file, as = "") {
  return { file, as, key: newKey(), tried: null, error: "" };
}

/** A random UUID of version 4. `crypto.randomUUID` is missing where the inbox is opened by plain HTTP. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

export function grow() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

function keepDraft() {
  try {
    if (text.value || quoted) localStorage.setItem(draftKey, JSON.stringify({ text: text.value, quoted }));
    else localStorage.removeItem(draftKey);
  } catch {
    // a browser that stores nothing keeps the draft only while the page is open
  }
}

function readDraft() {
  try {
    const draft = JSON.parse(localStorage.getItem(draftKey) ?? "{}");
    text.value = draft.text ?? "";
    const bubble = draft.quoted && $(`m-${draft.quoted}`);
    if (bubble) quote(draft.quoted, wordsOf(bubble));
  } catch {
    text.value = "";
  }
}

/** The server has these words; what was typed meanwhile stays. */
function clear(words) {
  if (text.value !== words) return;
  text.value = "";
  closeReplies();
  keepDraft();
  grow();
}

export function wordsOf(bubble) {
  return bubble.querySelector(".text, .description")?.textContent ?? "…";
}

export function quote(id, words) {
  quoted = id;
  $("quoting").hidden = !id;
  $("quoting").firstElementChild.textContent = words;
  keepDraft();
}

function isOnlyNotes() {
  return $("composer").classList.contains("only-notes");
}

/** Attach files; `as` says how they are sent where their type does not: voice, sticker. What was `made` here is nowhere
 * else: it is kept even where nothing can be sent now. */
export function attach(added, as = "", made = false) {
  if (isOnlyNotes()) say($("refusal").textContent, true);
  if (isOnlyNotes() && !made) return;
  const room = made ? added.length : Math.max(MAX_FILES - files.length, 0);
  files.push(...[...added].slice(0, room).map((file) => newMessage(file, as)));
  if (added.length > room) say(strings.tooManyFiles, true);
  $("file").value = "";
  showFiles();
}

function detach(message) {
  files = files.filter((each) => each !== message);
  showFiles();
}

function showFiles() {
  const items = files.map((message) => {
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = message.file.name;
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", strings.removeFile);
    remove.addEventListener("click", () => detach(message));
    item.append(name, remove);
    if (message.error) {
      const reason = document.createElement("small");
      reason.className = "error-reason";
      reason.textContent = message.error;
      name.append(" ", reason);
    }
    return item;
  });
  $("attached").replaceChildren(...items);
  $("attached").hidden = !items.length;
}

/** Put a text where the cursor is. */
export function insert(piece) {
  text.setRangeText(piece, text.selectionStart, text.selectionEnd, "end");
  text.focus();
  text.dispatchEvent(new Event("input"));
}

/** Post one message. The server may have what was tried, though its answer was lost: under the same key it takes
 * nothing else. */
async function send(url, message, words, quotation) {
  const content = [url, words, quotation];
  if (message.tried?.some((each, index) => each !== content[index])) message.key = newKey();
  message.tried = content;
  const form = new FormData();
  form.set("text", words);
  form.set("key", message.key);
  form.set("epoch", page.epoch);
  if (quotation) form.set("quoted", quotation);
  if (message.file) form.set("file", message.file);
  if (message.as) form.set("as", message.as);
  if ($("note-shown").checked) form.set("shown", "1");
  const { said } = await post(url, form);
  return said;
}

/** Return whether the server has certainly not stored the message, and would never take it. After anything else, like a
 * proxy's 502 or 504 or a lost connection, it may be stored: only the same message under the same key is safe then. */
function isRefusal({ status, code }) {
  if (status === 409) return code === "not_supported";
  return status >= 400 && status < 500 && !RETRY_LATER.includes(status);
}

/** Send what is written, with the first file if there are some; each other file is a message after it. A file that is
 * refused stays attached with the reason, and the words go with the next. Any other error ends it: what was not answered
 * stays as it is, to be sent again. */
async function submitText(url) {
  if (!text.value.trim() && !files.length) return;
  const messages = [...files];
  if (files.every((message) => message.as) && (text.value.trim() || !files.length)) messages.push(plain); // no captions
  let words = text.value;
  let quotation = quoted;
  const answers = [];
  const refusals = [];
  $("send").disabled = true;
  try {
    for (const [index, message] of messages.entries()) {
      if (messages.length > 1) say(`${strings.sendingFiles} ${index + 1}/${messages.length}`);
      try {
        answers.push(await send(url, message, message.as ? "" : words, quotation));
      } catch (error) {
        if (isRefusal(error)) message.key = newKey(); // nothing is stored: what is tried next is another try
        if (messages.length === 1 || !isRefusal(error)) throw error;
        message.error = error.message;
        refusals.push(`${message.file.name}: ${error.message}`);
        showFiles();
        continue;
      }
      if (message.file) detach(message);
      else plain = newMessage(null);
      if (quoted === quotation) quote("", "");
      quotation = "";
      if (message.as) continue;
      clear(words);
      words = "";
    }
    $("note-shown").checked = false;
    if (refusals.length) say(refusals.join("\n"), true);
    else say(answers.find(Boolean) ?? "");
    if (page.past && !files.length) location.href = location.pathname;
    toEnd();
  } catch (error) {
    say(error.message, true);
  } finally {
    $("send").disabled = false;
    pollSoon();
  }
}

// --- saved replies --------------------------------------------------------------------------------------------------

function closeReplies() {
  clearTimeout(repliesTimer);
  $("replies").hidden = true;
  $("replies").replaceChildren();
}

/** `/` at the beginning, with no space yet: the saved replies that begin like that. */
function lookForReplies() {
  const typed = /^\/([\w-]{0,40})$/.exec(text.value);
  if (!typed) return closeReplies();
  clearTimeout(repliesTimer);
  repliesTimer = setTimeout(async () => {
    try {
      const { replies } = await ask(`${$("composer").dataset.replies}?q=${encodeURIComponent(typed[1])}`);
      if (text.value === typed[0]) showReplies(replies);
    } catch {
      closeReplies(); // the page says already what is wrong with the connection
    }
  }, REPLIES_MS);
}

function showReplies(replies) {
  const options = replies.map((reply, index) => {
    const option = document.createElement("li");
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", index === 0 ? "true" : "false");
    const shortcut = document.createElement("strong");
    shortcut.textContent = `/${reply.shortcut}`;
    option.append(shortcut, ` ${reply.text}`);
    option.addEventListener("mousedown", (event) => {
      event.preventDefault(); // the box keeps the focus
      takeReply(reply.text);
    });
    option.dataset.text = reply.text;
    return option;
  });
  $("replies").replaceChildren(...options);
  $("replies").hidden = !options.length;
}

function takeReply(reply) {
  text.value = reply;
  closeReplies();
  text.dispatchEvent(new Event("input"));
  text.focus();
}

/** Keys while replies are offered. Returns whether the key was for them. */
function chooseReply(event) {
  const options = [...$("replies").children];
  if ($("replies").hidden || !options.length) return false;
  const index = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (move) {
    options[index].setAttribute("aria-selected", "false");
    const next = options[(index + move + options.length) % options.length];
    next.setAttribute("aria-selected", "true");
    next.scrollIntoView({ block: "nearest" });
  } else if (event.key === "Tab" || event.key === "Enter") takeReply(options[index].dataset.text);
  else if (event.key === "Escape") closeReplies();
  else return false;
  event.preventDefault();
  return true;
}

// --- emoji ----------------------------------------------------------------------------------------------------------

function toggleEmoji() {
  const panel = $("emoji");
  if (!panel.children.length)
    for (const emoji of EMOJI) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = emoji;
      button.addEventListener("click", () => insert(emoji));
      panel.append(button);
    }
  panel.hidden = !panel.hidden;
  $("emoji-button").setAttribute("aria-expanded", String(!panel.hidden));
}

// --- what the model drafts or sums up -------------------------------------------------------------------------------

/** Ask for a draft, a summary or the tasks. A draft goes into an empty box; everything else is shown first. */
export async function askFor(button) {
  const title = button.textContent;
  button.disabled = true;
  say(strings.working);
  try {
    const { text: answer, draft, said } = await post(button.dataset.askFor, new FormData());
    say(said);
    if (!answer) return;
    if (draft && !text.value) return insert(draft);
    $("result-title").textContent = title;
    $("result").textContent = answer;
    result = newMessage(null);
    $("result-dialog").querySelector(".trouble").hidden = true;
    $("send-result").hidden = isOnlyNotes() || answer.trimStart().startsWith("/"); // a command would be run
    $("result-dialog").showModal();
  } catch (error) {
    say(error.message, true);
  } finally {
    button.disabled = false;
  }
}

/** Send what the dialog shows, to the contact; what is typed in the box stays. Once it is told to wait, it may be sent
 * again as the same message. */
async function sendResult() {
  const place = $("result-dialog").querySelector(".trouble");
  place.hidden = true;
  $("send-result").disabled = true;
  try {
    say(await send($("composer").action, result, $("result").textContent, ""));
    $("result-dialog").close();
    toEnd();
  } catch (error) {
    place.textContent = error.message;
    place.hidden = false;
  } finally {
    $("send-result").disabled = false;
    pollSoon();
  }
}

export function startComposer() {
  if (!text) return;
  readDraft();
  grow();
  text.addEventListener("input", () => {
    grow();
    keepDraft();
    lookForReplies();
    if (text.value) shared.typedAt = Date.now();
  });
  text.addEventListener("keydown", (event) => {
    if (event.isComposing || chooseReply(event)) return;
    if (event.key === "Escape") text.blur();
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    if (!$("send").disabled) $("composer").requestSubmit();
  });
  text.addEventListener("blur", closeReplies);
  text.addEventListener("paste", (event) => {
    if (!event.clipboardData?.files.length) return;
    event.preventDefault();
    attach(event.clipboardData.files);
  });
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (isOnlyNotes() && !text.value.startsWith("/")) say($("refusal").textContent, true);
    else submitText($("composer").action);
  });
  $("as-note").addEventListener("click", () => submitText($("composer").action.replace(/reply\/$/, "note/")));
  $("file").addEventListener("change", () => attach($("file").files));
  for (const input of document.querySelectorAll("input[type=file][data-as]"))
    input.addEventListener("change", () => {
      attach(input.files, input.dataset.as);
      input.value = "";
      $("extras").open = false;
    });
  $("quoting").lastElementChild.addEventListener("click", () => quote("", ""));
  $("emoji-button").addEventListener("click", toggleEmoji);
  $("insert").addEventListener("click", () => {
    $("result-dialog").close();
    insert($("result").textContent);
  });
  $("send-result").addEventListener("click", sendResult);
  for (const place of [$("scroller"), $("composer")]) {
    place.addEventListener("dragover", (event) => event.preventDefault());
    place.addEventListener("drop", (event) => {
      event.preventDefault();
      attach(event.dataTransfer.files);
    });
  }
  window.addEventListener("beforeunload", (event) => {
    if (files.length) event.preventDefault(); // a file cannot be kept as a draft
  });
}
