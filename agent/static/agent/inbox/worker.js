// The service worker of the inbox: shows a notification while no page of it is open. See agent/push.

self.addEventListener("push", (event) => {
  let content = {};
  try {
    content = event.data?.json() ?? {};
  } catch {
    // not ours: nothing to show
  }
  if (content.title) event.waitUntil(show(content));
});

/** A page that somebody is looking at alerts by itself. */
async function show({ title, url, tag, icon }) {
  const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  if (windows.some((each) => each.focused && each.url.startsWith(self.registration.scope))) return;
  await self.registration.showNotification(title, { tag, icon, renotify: true, data: { url } });
}

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(new URL(event.notification.data?.url ?? "/admin/inbox/", self.location.origin).href));
});

async function open(url) {
  const [page] = await self.clients.matchAll({ type: "window" });
  if (!page) return self.clients.openWindow(url);
  await page.focus();
  return page.navigate(url);
}
