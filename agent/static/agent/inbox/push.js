// Notifications while the inbox is closed: https://developer.mozilla.org/docs/Web/API/Push_API

import { ask, page, post, strings } from "./server.js";

export const hasPush = "serviceWorker" in navigator && "PushManager" in window;

async function register() {
  await navigator.serviceWorker.register(page.pushWorker);
  return navigator.serviceWorker.ready;
}

function formOf(subscription) {
  const { endpoint, keys } = subscription.toJSON();
  const form = new FormData();
  for (const [name, value] of Object.entries({ endpoint, ...keys })) form.set(name, value);
  return form;
}

/** Have this browser notified. Throws an Error whose message can be shown. */
export async function switchPushOn() {
  if ((await Notification.requestPermission()) !== "granted") throw new Error(strings.blocked);
  const registration = await register();
  const { key } = await ask(`${page.push}key/`);
  let subscription;
  try {
    subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  } catch {
    throw new Error(strings.noPush);
  }
  await post(page.push, formOf(subscription));
}

export async function switchPushOff() {
  const registration = await navigator.serviceWorker.getRegistration(page.pushWorker);
  const subscription = await registration?.pushManager.getSubscription();
  if (!subscription) return;
  await post(`${page.push}remove/`, formOf(subscription));
  await subscription.unsubscribe();
}

/** The browser may have changed its address: tell the server the present one. Returns whether there is one. */
export async function renewPush() {
  const registration = await navigator.serviceWorker.getRegistration(page.pushWorker);
  const subscription = await registration?.pushManager.getSubscription();
  if (subscription) await post(page.push, formOf(subscription));
  return Boolean(subscription);
}
