// What the other modules share: the state of the page, requests to the server, and helpers for the DOM.
// Everything from the server is inserted as text, never as markup.

export const state = {
  sessions: [],
  contacts: [],
  session: null,
  contact: null,
  mayWrite: true,
};

const texts = JSON.parse(document.getElementById("texts").textContent);

/** Return a text in the language of the page, with {name} replaced by the value of that name. */
export function translate(text, values = {}) {
  return (texts[text] ?? text).replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}

const baseUrl = document.body.dataset.base;
const csrfToken = document.querySelector("[name=csrfmiddlewaretoken]").value;

/**
 * Ask the server. Return the parsed answer, or null for 204. Throws an Error whose message can be shown.
 * The body is sent as JSON, or as a form if it is FormData.
 */
export async function request(path, { method = "GET", body } = {}) {
  const headers = { Accept: "application/json" };
  const isForm = body instanceof FormData;
  if (body !== undefined) {
    headers["X-CSRFToken"] = csrfToken;
    if (!isForm) headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(baseUrl + path, {
      method,
      headers,
      body: body === undefined || isForm ? body : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch {
    throw new Error(translate("The server does not answer. Trying again …"));
  }
  if (response.status === 204) return null;
  let content = null;
  try {
    content = await response.json();
  } catch {
    throw new Error(
      response.status === 403
        ? translate("This page has expired. Load it again.")
        : translate("The server answered {status}.", { status: response.status }),
    );
  }
  if (!response.ok) {
    throw new Error(content.detail ?? translate("The server answered {status}.", { status: response.status }));
  }
  return content;
}

/** Send bridge events to the session. Return how many were stored, ignored and malformed. */
export function sendEvents(events) {
  return request(`sessions/${state.session.id}/events/`, { method: "POST", body: events });
}

/** Upload a file of the contact. Return its kind, and the media of the event to send. */
export function uploadFile(file) {
  const body = new FormData();
  body.append("file", file);
  return request(`sessions/${state.session.id}/files/`, { method: "POST", body });
}

export const $ = (id) => document.getElementById(id);

export function createElement(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Show the text in the element; hide the element if there is none. */
export function showText(element, text) {
  element.textContent = text ?? "";
  element.hidden = !text;
}

export const showError = (error) => showText($("error"), error.message);
export const clearError = () => showText($("error"), "");
export const firstLetter = (name) => [...name.replace(/^\+/, "")][0]?.toUpperCase() ?? "?";
export const formatTime = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
