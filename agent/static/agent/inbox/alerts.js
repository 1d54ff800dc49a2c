// Alerts of this browser: the count in the title and the icon, and, if switched on, a sound and a notification.

import { hasPush, renewPush, switchPushOff, switchPushOn } from "./push.js";
import { $, page, strings } from "./server.js";

const key = (name) => `inbox alert ${name} ${page.user}`;

/** Switches that need more than to be remembered. They throw an Error whose message can be shown. */
const SWITCHES = {
  notification: async (on) => {
    if (on && (await window.Notification?.requestPermission()) !== "granted") throw new Error(strings.blocked);
  },
  push: (on) => (on ? switchPushOn() : switchPushOff()),
  sound: async (on) => on && playSound(),
};

function isOn(name) {
  try {
    return localStorage.getItem(key(name)) === "1";
  } catch {
    return false;
  }
}

export function showCount(waiting) {
  document.title = `${waiting ? `(${waiting}) ` : ""}${document.title.replace(/^\(\d+\) /, "")}`;
  $("icon").href = waiting ? page.iconWaiting : page.icon;
}

/** Return whether a list of conversations has one that it had not before. Of a full one that cannot be known. */
function hasNew(name, ids) {
  const before = page[name].split(" ");
  page[name] = ids.join(" ");
  return before.length < Number(page.maxAlerted) && ids.some((id) => !before.includes(id));
}

/** Alert once when a conversation has begun to need a person, or was assigned to the user by somebody else, if the user
 * wants it. */
export function alertOf(changed) {
  const isNeeding = hasNew("needing", changed.needing);
  const isAssigned = hasNew("assigned", changed.assigned);
  const needs = page.alertsWaiting && isNeeding;
  const assigned = page.alertsAssigned && isAssigned;
  if (!needs && !assigned) return;
  if (isOn("sound")) playSound();
  if (isOn("push") && !document.hasFocus()) return; // the service worker shows it
  if (isOn("notification") && window.Notification?.permission === "granted") {
    const notification = new Notification(needs ? strings.waiting : strings.assigned, {
      icon: page.icon,
      tag: "inbox",
    });
    notification.onclick = () => window.focus();
  }
}

/** Two short tones; browsers play them once the page was clicked. */
function playSound() {
  try {
    const context = new AudioContext();
    for (const [start, hertz] of [
      [0, 660],
      [0.16, 880],
    ]) {
      const tone = context.createOscillator();
      const volume = context.createGain();
      volume.gain.value = 0.08;
      tone.frequency.value = hertz;
      tone.connect(volume).connect(context.destination);
      tone.start(context.currentTime + start);
      tone.stop(context.currentTime + start + 0.12);
    }
    setTimeout(() => context.close(), 1000);
  } catch {
    // without sound: the count is shown all the same
  }
}

export function startAlerts() {
  for (const box of document.querySelectorAll("[data-alert]")) {
    const name = box.dataset.alert;
    box.checked = isOn(name);
    box.addEventListener("change", async () => {
      const place = box.closest("dialog").querySelector(".trouble");
      place.hidden = true;
      try {
        await SWITCHES[name]?.(box.checked);
      } catch (error) {
        box.checked = !box.checked;
        place.textContent = error.message;
        place.hidden = false;
      }
      try {
        localStorage.setItem(key(name), box.checked ? "1" : "");
      } catch {
        // a browser that stores nothing forgets the choice with the page
      }
    });
  }
  if (hasPush && $("push-choice")) {
    $("push-choice").hidden = false;
    if (isOn("push")) renewPush().catch(() => false); // the page says already what is wrong with the connection
  }
}
