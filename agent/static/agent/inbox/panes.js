// The head and the contact's pane: new HTML replaces them whole, but never what somebody has begun to fill in there.

import { $, page } from "./server.js";

const PANES = ["head", "contact"];
const IMMEDIATE = "[data-submit], [data-until]"; // submitted as soon as it is changed: it shows what the server says
const SEEN = ["seen_labels", "seen_assignee", "epoch"]; // what the writer knew when they began
const latest = new Map(); // pane -> the newest HTML for it, and the epoch that it shows
const waiting = new Set(); // panes whose newest HTML is not in place yet
const told = new Set(); // identities of forms whose writer knows that something has changed meanwhile

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
    for (const details of $(id).querySelectorAll("details[id]")) {
      const after = find(wanted, "details").find((each) => each.id === details.id);
      if (after) after.open = details.open;
    }
    $(id).replaceChildren(...wanted);
    if (id === "head") page.epoch = epoch;
  }
}

function isInUse(pane) {
  const active = document.activeElement;
  return pane.contains(active) && active.matches("input, select, textarea");
}

/** Return the elements of a part that match, at any depth. */
function find(elements, selector) {
  return elements.flatMap((each) => [...(each.matches(selector) ? [each] : []), ...each.querySelectorAll(selector)]);
}

/** Return what tells a form from the others of its pane: the forms of all templates have one address. */
function identityOf(form) {
  return [form.getAttribute("action"), form.id, form.querySelector("input[type=hidden][name=row]")?.value].join(" ");
}

/** A form may have several fields of one name, like the parameters of a template. */
function fieldsNamed(form, name) {
  return [...form.elements].filter((field) => field.name === name);
}

/** Keep what is typed in a form. What its writer has seen stays with it until they are told of the change: only then
 * does the next try replace what someone else has done. */
function carryOver(form, wanted) {
  const identity = identityOf(form);
  const target = find(wanted, "form").find((each) => identityOf(each) === identity);
  if (!target) return;
  let isCarried = false;
  for (const field of typedFields(form)) {
    const after = fieldsNamed(target, field.name)[fieldsNamed(form, field.name).indexOf(field)];
    if (!after || after.matches(IMMEDIATE)) continue;
    after.value = field.value;
    isCarried = true;
  }
  for (const name of SEEN) {
    const [before] = fieldsNamed(form, name);
    const [after] = fieldsNamed(target, name);
    if (!before || !after || before.value === after.value) continue;
    if (isCarried && !told.has(identity)) after.value = before.value;
    else told.delete(identity);
  }
}

/** Return the fields that hold something else than the server sent. No script may fill in a file. */
function typedFields(form) {
  return [...form.elements].filter((field) => {
    if (!field.name || field.matches(`button, [type=hidden], [type=file], ${IMMEDIATE}`)) return false;
    if (!field.matches("select")) return field.value !== field.defaultValue;
    return field.value !== ([...field.options].find((option) => option.defaultSelected) ?? field.options[0])?.value;
  });
}

/** The server has taken what a form holds: it is not typed any more. */
export function settle(form) {
  told.delete(identityOf(form));
  for (const field of typedFields(form))
    if (field.matches("select")) for (const option of field.options) option.defaultSelected = option.selected;
    else field.defaultValue = field.value;
}

/** The server has said that something changed meanwhile: leave the form, so that what is new is put in. */
export function renew(form) {
  const identity = identityOf(form); // the form itself may have been replaced while the server answered
  const pane = PANES.find((id) =>
    find([...($(id)?.children ?? [])], "form").some((each) => identityOf(each) === identity),
  );
  if (!pane) return;
  told.add(identity);
  if (isInUse($(pane))) document.activeElement.blur();
  if (latest.has(pane)) waiting.add(pane);
}
