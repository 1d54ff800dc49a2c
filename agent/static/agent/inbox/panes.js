// The head and the contact's pane: new HTML replaces them whole, but never what somebody has begun to fill in there.

import { $, page } from "./server.js";

const PANES = ["head", "contact"];
const IMMEDIATE = "[data-submit], [data-until]"; // submitted as soon as it is changed: it shows what the server says
const SEEN = ["seen_labels", "seen_assignee", "epoch"]; // what the writer knew when they began
const latest = new Map(); // pane -> the newest HTML for it, and the epoch that it shows
const waiting = new Set(); // panes whose newest HTML is not in place yet
const told = new Set(); // forms, by their address, whose writer knows that something has changed meanwhile

/** Return the elements of a part that our templates made: scripts in it do not run. */
export function parse(html) {
  return [...new DOMParser().parseFromString(html, "text/html").body.children];
}

/** Take the new HTML of the panes; `putInPlace` shows it. */
export function takePanes(changed) {
  for (const id of PANES) {
    latest.set(id, { html: changed[id], epoch: changed.epoch });
    waiting.add(id);
  }
}

/** Put in what has come, unless somebody is in a field there: that pane is tried again at the next poll. The last
 * message that they have seen is the new one all the same, as it is shown beside the form. */
export function putInPlace() {
  for (const id of [...waiting]) {
    const { html, epoch } = latest.get(id);
    const wanted = parse(html);
    if (isInUse($(id))) {
      const last = wanted.map((each) => each.querySelector("input[name=last]")).find(Boolean);
      for (const input of last ? $(id).querySelectorAll("input[name=last]") : []) input.value = last.value;
      continue;
    }
    waiting.delete(id);
    for (const form of $(id).querySelectorAll("form")) carryOver(form, wanted);
    $(id).replaceChildren(...wanted);
    if (id === "head") page.epoch = epoch;
  }
}

function isInUse(pane) {
  const active = document.activeElement;
  return pane.contains(active) && active.matches("input, select, textarea");
}

/** Keep what is typed in a form. What its writer has seen stays with it until they are told of the change: only then
 * does the next try replace what someone else has done. */
function carryOver(form, wanted) {
  const forms = wanted.flatMap((each) => (each.matches("form") ? [each] : [...each.querySelectorAll("form")]));
  let isCarried = false;
  for (const field of typedFields(form)) {
    const target = forms.find((each) => each.action === form.action && each.elements[field.name]);
    const value = target?.elements[field.name];
    if (!value || value.matches(IMMEDIATE)) continue;
    value.value = field.value;
    isCarried = true;
  }
  for (const name of SEEN) {
    const before = form.elements[name];
    const after = forms.find((each) => each.action === form.action && each.elements[name])?.elements[name];
    if (!before || !after || before.value === after.value) continue;
    if (isCarried && !told.has(form.action)) after.value = before.value;
    else told.delete(form.action);
  }
}

function typedFields(form) {
  return [...form.elements].filter((field) => {
    if (!field.name || field.matches(`button, [type=hidden], ${IMMEDIATE}`)) return false;
    if (!field.matches("select")) return field.value !== field.defaultValue;
    return field.value !== ([...field.options].find((option) => option.defaultSelected) ?? field.options[0])?.value;
  });
}

/** The server has taken what a form holds: it is not typed any more. */
export function settle(form) {
  told.delete(form.action);
  for (const field of typedFields(form))
    if (field.matches("select")) for (const option of field.options) option.defaultSelected = option.selected;
    else field.defaultValue = field.value;
}

/** The server has said that something changed meanwhile: leave the form, so that what is new is put in. */
export function renew(form) {
  const pane = PANES.find((id) => $(id)?.contains(form));
  if (!pane) return;
  told.add(form.action);
  if (isInUse($(pane))) document.activeElement.blur();
  if (latest.has(pane)) waiting.add(pane);
}
