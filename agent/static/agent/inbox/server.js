// How the page asks the server, and says what went wrong where one is looking.

export const $ = (id) => document.getElementById(id);
export const strings = JSON.parse($("strings").textContent);
export const page = document.body.dataset;
/** What modules share: when the user typed last. */
export const shared = { typedAt: 0 };
let csrf = document.querySelector("[name=csrfmiddlewaretoken]").value;

class Refused extends Error {
  /** `status` is that of the HTTP answer; 0 without one. */
  constructor(message, code, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** Show what is wrong with the whole page; an empty text hides it. */
export function trouble(error) {
  const element = $("trouble");
  const text = error?.message ?? "";
  if (element.textContent !== text) {
    element.textContent = text;
    if (error?.code === "logged_out") {
      const link = document.createElement("a");
      link.href = `${page.login}?next=${encodeURIComponent(location.pathname + location.search)}`;
      link.textContent = strings.logIn;
      element.append(" ", link);
    }
  }
  element.hidden = !text;
}

/** Say what an action did, below the conversation. */
export function say(text, isWrong = false) {
  const element = $("said");
  if (!element) return isWrong ? trouble({ message: text }) : undefined;
  element.textContent = text;
  element.hidden = !text;
  element.classList.toggle("wrong", isWrong);
}

/** Ask the server. Returns the JSON, or null for 204. Throws an Error whose message can be shown. */
export async function ask(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", redirect: "manual", ...options });
  } catch {
    throw new Refused(strings.offline, "offline");
  }
  if (response.status === 204) return null;
  let content = {};
  try {
    content = await response.json();
  } catch {
    if (response.ok) throw new Refused(strings.unreadable, "unreadable", response.status);
  }
  if (!response.ok) {
    const text = content.detail || `${strings.answered} (${response.status})`;
    throw new Refused(text, content.code, response.status);
  }
  return content;
}

/** Post a form. An expired login is also said at the top, with the link to log in. A login in another tab has made a new
 * CSRF token: what is refused without it has done nothing, and is posted once more with it. */
export async function post(url, form) {
  const send = () => ask(url, { method: "POST", body: form, headers: { "X-CSRFToken": csrf } });
  try {
    try {
      return await send();
    } catch (error) {
      if (error.status !== 403) throw error;
      await renewToken();
      return await send();
    }
  } catch (error) {
    if (error.code === "logged_out") trouble(error);
    throw error;
  }
}

/** Take the newest CSRF token, unless another person has logged in: nothing is sent in their name. */
async function renewToken() {
  const login = await ask(page.loginState).catch((error) => {
    if (error.status !== 401) throw error;
  });
  if (login?.user !== page.user) throw new Refused(strings.loggedOut, "logged_out", 401);
  csrf = login.csrf;
}
