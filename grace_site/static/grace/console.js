/* What makes the console quicker with a keyboard and live with a stream. Every page works without it. */
"use strict";

window.grace = (() => {
  /* Where letters are text. Choices are not. */
  const typing = (element) =>
    element.closest("textarea, select, [contenteditable]") !== null ||
    (element.tagName === "INPUT" && !["checkbox", "radio", "button", "submit"].includes(element.type));

  /* Filters apply as soon as they are chosen. */
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submits]")) {
      event.target.form.requestSubmit();
    }
  });
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.hidden = true;
  }

  /* Where a refusal is shown, that is what should be read first; after a batch, the way on. */
  (document.getElementById("refused") ?? document.querySelector("[data-first]"))?.focus();

  const announce = (text) => {
    const place = document.querySelector("[data-announce]");
    if (place) {
      place.textContent = text;
    }
  };

  /* --- keys of one letter can be switched off: who speaks to their computer types them by accident --- */

  const kept = {
    get on() {
      try {
        return window.localStorage.getItem("grace-keys") !== "off";
      } catch {
        return true;
      }
    },
    set on(on) {
      try {
        window.localStorage.setItem("grace-keys", on ? "on" : "off");
      } catch {
        /* Nothing is kept where nothing may be kept. */
      }
    },
  };
  const showKeys = () => {
    for (const button of document.querySelectorAll("[data-keys-switch]")) {
      button.hidden = false;
      button.textContent = kept.on ? "Switch keys of one letter off" : "Switch keys of one letter on";
    }
    for (const legend of document.querySelectorAll("[data-keys-shown]")) {
      legend.hidden = !kept.on;
    }
  };
  document.addEventListener("click", (event) => {
    if (event.target.matches("[data-keys-switch]")) {
      kept.on = !kept.on;
      showKeys();
    }
  });
  showKeys();

  /* --- deciding --- */

  /* A key arms a button, and Enter presses it: nothing is decided by one slip. */
  const arm = (key, within = document) => {
    const target = within.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (!target) {
      return false;
    }
    if (target.tagName === "A") {
      target.click();
      return true;
    }
    const form = target.form;
    form.dataset.then = key;
    const says = form.querySelector("[name=quick]:checked") ?? form.elements.reason.value.trim();
    const first = form.querySelector("[data-digit]");
    (key === "a" || says ? target : first).focus();
    target.dataset.armed = "";
    document.getElementById("decide")?.scrollIntoView({ block: "nearest" });
    return true;
  };

  /* A digit chooses a reason, and where rejecting was meant already the button is next. */
  const reason = (digit, within = document) => {
    const choice = within.querySelector(`[data-digit="${digit}"]`);
    if (!choice) {
      return false;
    }
    choice.checked = true;
    const then = choice.form.dataset.then;
    if (then && then !== "a") {
      choice.form.querySelector(`[data-key="${then}"]`).focus();
    } else {
      choice.focus();
    }
    return true;
  };

  const armed = (form) => form?.querySelector(`[data-key="${CSS.escape(form.dataset.then ?? "")}"]`);

  /* What a key means to a decision that is shown within an element; whether it meant something. */
  const key = (event, within) => {
    if (/^[1-9]$/.test(event.key)) {
      return reason(event.key, within);
    }
    return event.key.length === 1 && arm(event.key, within);
  };

  document.addEventListener("keydown", (event) => {
    const form = event.target.form;
    if (event.key === "Enter" && event.target.matches("[data-decide] input")) {
      /* Enter in a field would press the form's first button. */
      event.preventDefault();
      if (event.target.matches("[data-digit]:checked")) {
        armed(form)?.click();
      }
    } else if (event.ctrlKey && event.key === "Enter" && event.target.id === "reason") {
      armed(form)?.click();
    } else if (event.key === " " && "armed" in event.target.dataset) {
      /* Who armed a button by its key is reading: the space bar scrolls, and only Enter decides. */
      event.preventDefault();
      window.scrollBy({ top: window.innerHeight * (event.shiftKey ? -0.8 : 0.8) });
    }
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " " && "armed" in (event.target.dataset ?? {})) {
      event.preventDefault();
    }
  });
  document.addEventListener("focusout", (event) => {
    delete event.target.dataset?.armed;
  });

  /* Only rejecting and asking for changes need a reason: a chosen one, or words. */
  document.addEventListener("click", (event) => {
    if (event.target.name === "verdict" && event.target.form) {
      const form = event.target.form;
      const chosen = form.querySelector("[name=quick]:checked");
      form.elements.reason.required = event.target.value !== "approve" && !chosen;
    }
  });

  const listens = (event) =>
    kept.on && !event.defaultPrevented && !event.ctrlKey && !event.metaKey && !event.altKey && !typing(event.target);

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && typing(event.target)) {
      event.target.blur();
      return;
    }
    /* The inbox has keys of its own. */
    if (!listens(event) || document.querySelector("[data-rows]")) {
      return;
    }
    if (event.key === "u" && document.querySelector(".crumbs a")) {
      document.querySelector(".crumbs a").click();
    } else if (key(event, document)) {
      event.preventDefault();
    }
  });

  const wanted = { "#approve": "a", "#reject": "r", "#changes": "c" }[window.location.hash];
  if (wanted) {
    arm(wanted);
  }

  /* --- live --- */

  const live = document.querySelector("[data-live]");
  document.body.addEventListener("htmx:sseOpen", () => {
    if (live) {
      live.hidden = false;
      live.textContent = "Live";
      live.classList.add("live--on");
    }
  });
  document.body.addEventListener("htmx:sseError", () => {
    if (live) {
      live.hidden = false;
      live.textContent = "Not live, reconnecting";
      live.classList.remove("live--on");
    }
  });

  return { announce, arm, key, listens, showKeys, typing };
})();
