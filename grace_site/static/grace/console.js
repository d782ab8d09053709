/* What makes the console quicker with a keyboard and live with a stream. Every page works without it. */
"use strict";

(() => {
  const typing = (element) => element.closest("input, select, textarea, [contenteditable]") !== null;

  /* Filters apply as soon as they are chosen. */
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submits]")) {
      event.target.form.requestSubmit();
    }
  });
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.hidden = true;
  }

  /* Where a refusal is shown, that is what should be read first. */
  const refused = document.getElementById("refused");
  if (refused) {
    refused.focus();
  }

  /* --- keys --- */

  const links = () => [...document.querySelectorAll("[data-row] .row__title a")];

  const step = (by) => {
    const all = links();
    const here = all.indexOf(document.activeElement);
    const next = here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(here + by, 0), all.length - 1);
    all[next]?.focus();
    all[next]?.closest("[data-row]").scrollIntoView({ block: "nearest" });
  };

  const open = (intention) => {
    const all = links();
    const chosen = all.includes(document.activeElement) ? document.activeElement : all[0];
    if (chosen) {
      window.location.assign(chosen.href + intention);
    }
  };

  const inboxKeys = { j: () => step(1), k: () => step(-1), a: () => open("#approve"), r: () => open("#reject") };

  /* On the page of a request, a key arms a button; Enter presses it. Nothing is decided by one slip. */
  const arm = (key) => {
    const target = document.querySelector(`[data-key="${key}"]`);
    if (!target) {
      return;
    }
    if (target.tagName === "A") {
      target.click();
      return;
    }
    const reason = document.getElementById("reason");
    if (key !== "a" && reason && !reason.value.trim()) {
      reason.required = true;
      reason.focus();
      reason.dataset.then = key;
    } else {
      target.focus();
    }
    document.getElementById("decide").scrollIntoView({ block: "nearest" });
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey && event.key === "Enter" && event.target.id === "reason") {
      const armed = document.querySelector(`[data-key="${event.target.dataset.then}"]`);
      armed?.form.requestSubmit(armed);
      return;
    }
    if (event.key === "Escape" && typing(event.target)) {
      event.target.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) {
      return;
    }
    if (document.querySelector("[data-rows]") && inboxKeys[event.key]) {
      event.preventDefault();
      inboxKeys[event.key]();
    } else if (event.key === "u" && document.querySelector(".crumbs a")) {
      document.querySelector(".crumbs a").click();
    } else if (document.querySelector(`[data-key="${CSS.escape(event.key)}"]`)) {
      event.preventDefault();
      arm(event.key);
    }
  });

  const wanted = { "#approve": "a", "#reject": "r" }[window.location.hash];
  if (wanted) {
    arm(wanted);
  }

  /* Only rejecting and asking for changes need a reason. */
  const decision = document.querySelector("[data-decide]");
  decision?.addEventListener("click", (event) => {
    if (event.target.name === "verdict") {
      decision.elements.reason.required = event.target.value !== "approve";
    }
  });

  /* --- live --- */

  const announce = document.querySelector("[data-announce]");
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
  let before = Number(document.getElementById("inbox")?.dataset.count ?? 0);
  document.body.addEventListener("htmx:afterSettle", () => {
    const inbox = document.getElementById("inbox");
    if (!inbox || !announce) {
      return;
    }
    const count = Number(inbox.dataset.count);
    if (count !== before) {
      announce.textContent = `${count} approval${count === 1 ? "" : "s"} pending`;
      document.title = document.title.replace(/Approvals( \(\d+\))?/, count ? `Approvals (${count})` : "Approvals");
      before = count;
    }
  });
})();
