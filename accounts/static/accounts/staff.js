// Every page of the admin: light or dark as the user chose, a lost connection or login is said at once, what unfold leaves
// to a mouse can be pressed by a key, and what select2 draws for a field has the field's name for those who hear the page.

(() => {
  const CHECK_MS = 15000;
  const TIMEOUT_MS = 10000;
  const ONLY_CLICKED =
    "a[x-on\\:click]:not([href]), .cursor-pointer[x-on\\:click]:not(a, button), .material-symbols-outlined[x-on\\:click]";
  const root = document.documentElement;
  const theme = ["light", "dark", "auto"].find((name) => root.classList.contains(name));
  if (!theme) return; // nobody is logged in

  // The account decides, not what this browser remembers. From here on Alpine sets the class.
  root.classList.remove(theme);
  try {
    localStorage.setItem("adminTheme", JSON.stringify(theme));
  } catch {
    // a browser that stores nothing has nothing else to show either
  }

  document.addEventListener("DOMContentLoaded", () => {
    const banner = document.getElementById("connection");
    if (!banner) return;
    watch(banner);
    for (const element of document.querySelectorAll(ONLY_CLICKED)) makeButton(element, banner.dataset.menu);
  });

  function makeButton(element, menu) {
    element.tabIndex = 0;
    element.setAttribute("role", "button");
    if (element.getAttribute("x-on:click").includes("sidebar")) element.setAttribute("aria-label", menu); // an icon
    element.addEventListener("keydown", (event) => {
      if (event.target !== element || (event.key !== "Enter" && event.key !== " ")) return;
      event.preventDefault();
      element.click();
    });
  }

  window.addEventListener("load", () => setTimeout(nameFields)); // after select2
  document.addEventListener("formset:added", () => setTimeout(nameFields));

  function nameFields() {
    for (const field of document.querySelectorAll("select.select2-hidden-accessible")) {
      const name = field.labels?.[0]?.textContent.trim() || field.closest("[data-label]")?.dataset.label;
      const drawn = field.nextElementSibling?.querySelectorAll("[role=combobox], [role=textbox]") ?? [];
      for (const element of name ? drawn : []) element.setAttribute("aria-label", name);
    }
  }

  function watch(banner) {
    const { user, loginState, login, chooseTheme } = banner.dataset;
    let csrf = document.querySelector("[name=csrfmiddlewaretoken]")?.value;

    /** Show what is wrong, `offline` or `loggedOut`; an empty name hides it. */
    function show(trouble) {
      const text = trouble ? banner.dataset[trouble] : "";
      const place = banner.querySelector("span");
      if (place.textContent !== text) place.textContent = text;
      banner.querySelector("a").hidden = trouble !== "loggedOut";
      banner.hidden = !trouble;
    }

    /** Return whether what is sent now would be taken; what is wrong is shown. */
    async function check() {
      let answer = null;
      let status = 0;
      try {
        const response = await fetch(loginState, { redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS) });
        status = response.status;
        if (response.ok) answer = await response.json();
      } catch {
        // no answer: what is shown is the same as for one that cannot be read
      }
      if (answer?.user === user) {
        csrf = answer.csrf;
        for (const field of document.getElementsByName("csrfmiddlewaretoken")) field.value = csrf;
        show("");
        return true;
      }
      show(status === 401 || answer ? "loggedOut" : "offline"); // or another person has logged in
      return false;
    }

    const keepPage = (event) => event.preventDefault();
    let isChecking = false;

    document.addEventListener("submit", async (event) => {
      const { target: form, submitter } = event;
      if (event.defaultPrevented || !isPost(form) || form.closest("[hx-post]")) return;
      event.preventDefault();
      if (isChecking) return;
      isChecking = true;
      const isTaken = await check();
      isChecking = false;
      window.removeEventListener("beforeunload", keepPage);
      if (isTaken) send(form, submitter);
      else window.addEventListener("beforeunload", keepPage);
    });

    setInterval(() => document.hidden || check(), CHECK_MS);
    document.addEventListener("visibilitychange", () => document.hidden || check());
    for (const name of ["online", "offline"]) window.addEventListener(name, check);

    // What htmx asks for: with the newest token, and a login page never stands within another page.
    document.addEventListener("htmx:configRequest", (event) => {
      if (csrf) event.detail.headers["X-CSRFToken"] = csrf;
    });
    document.addEventListener("htmx:beforeSwap", (event) => {
      const { xhr } = event.detail;
      if (!xhr.responseURL || new URL(xhr.responseURL).pathname !== login) return;
      event.detail.shouldSwap = false;
      check();
    });
    for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) document.addEventListener(name, check);

    const { Alpine } = window; // has started: deferred scripts run before DOMContentLoaded
    Alpine.watch(
      () => Alpine.$data(root).adminTheme,
      (name) => {
        const body = new URLSearchParams({ theme: name });
        fetch(chooseTheme, { method: "POST", body, headers: { "X-CSRFToken": csrf } }).catch(check);
      },
    );
  }

  /** A field may be named as a property of its form, like `action` in the admin's lists: the attributes are read. */
  function isPost(form) {
    return form.getAttribute("method")?.toLowerCase() === "post";
  }

  /** Submit a form without another submit event, as its button would. */
  function send(form, button) {
    if (button?.hasAttribute("formaction")) form.setAttribute("action", button.formAction);
    const pressed = document.createElement("input");
    Object.assign(pressed, { type: "hidden", name: button?.name ?? "", value: button?.value ?? "" });
    form.append(pressed); // without a name it is not sent
    HTMLFormElement.prototype.submit.call(form);
    pressed.remove(); // after a download the page is still there
  }
})();
