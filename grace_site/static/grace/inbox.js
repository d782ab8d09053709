/* Triage in the inbox: a request is opened in its row, decided there, and the next one is at hand.
   Without this the rows are links, and the chosen ones are decided on a page of their own. */
"use strict";

(() => {
  const { announce, arm, key, listens, showKeys, typing } = window.grace;
  const FRAGMENT = "X-Grace-Fragment";

  const rows = () => [...document.querySelectorAll("[data-row]")];
  const link = (row) => row.querySelector(".row__title a");
  const brief = (row) => row.querySelector(".row__brief");
  const choice = (row) => row.querySelector("[data-choice]");
  /* What waits for this person; what waits for others has nothing to tick. */
  const left = () => rows().filter(choice);
  const opened = () => rows().find((row) => brief(row) && !brief(row).hidden && !("decided" in row.dataset));

  /* The row where somebody is; when they are nowhere, where they were, or the first that is left. */
  let last = null;
  const at = () => document.activeElement?.closest("[data-row]");
  const here = () => at() ?? opened() ?? document.getElementById(last) ?? left()[0] ?? rows()[0];
  document.addEventListener("focusin", () => {
    last = at()?.id ?? last;
  });

  const go = (row) => {
    link(row).focus();
    row.scrollIntoView({ block: "nearest" });
  };

  const step = (by) => {
    const all = rows();
    const from = all.indexOf(at() ?? document.getElementById(last));
    const next = from < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(from + by, 0), all.length - 1);
    if (all[next]) {
      close();
      go(all[next]);
    }
  };

  /* --- one request, in its row --- */

  const show = (row, shown) => {
    brief(row).hidden = !shown;
    row.querySelector("[data-opens]").setAttribute("aria-expanded", String(shown));
  };

  const close = () => {
    const row = opened();
    if (row) {
      show(row, false);
      refresh();
    }
    return row;
  };

  /* A part of a page, or null when something else was answered: a page to log in, a fault. */
  const ask = async (address, options = {}) => {
    try {
      const answer = await fetch(address, { ...options, headers: { [FRAGMENT]: "1" } });
      return answer.headers.has(FRAGMENT) ? { ok: answer.ok, html: await answer.text() } : null;
    } catch {
      return null;
    }
  };

  const open = async (row, wanted) => {
    const place = brief(row);
    if (!place) {
      return;
    }
    if (opened() && opened() !== row) {
      close();
    }
    if (!place.firstElementChild) {
      const answer = await ask(place.dataset.address);
      if (!answer) {
        window.location.assign(link(row).href);
        return;
      }
      place.innerHTML = answer.html;
      showKeys();
    }
    show(row, true);
    row.scrollIntoView({ block: "start" });
    if (wanted && !arm(wanted, place)) {
      go(row);
      announce(place.querySelector("[data-why-not]")?.textContent ?? "There is nothing to decide here.");
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-opens]");
    if (button) {
      const row = button.closest("[data-row]");
      if (opened() === row) {
        close();
      } else {
        open(row);
      }
    }
  });

  document.addEventListener("submit", (event) => {
    const row = event.target.matches("[data-decide]") && event.target.closest("[data-row]");
    if (row) {
      event.preventDefault();
      decide(row, event.target, event.submitter);
    }
  });

  const decide = async (row, form, button) => {
    if (!button || "busy" in form.dataset) {
      return;
    }
    form.dataset.busy = "";
    const body = new FormData(form);
    body.set(button.name, button.value);
    const answer = await ask(form.action, { method: "POST", body });
    if (!answer) {
      window.location.assign(link(row).href);
      return;
    }
    brief(row).innerHTML = answer.html;
    showKeys();
    if (answer.ok) {
      decided(row);
    } else {
      brief(row).querySelector("[role=alert]")?.focus();
    }
  };

  const decided = (row) => {
    row.dataset.decided = "";
    row.classList.add("row--decided");
    row.querySelector("[data-opens]").hidden = true;
    choice(row)?.remove();
    count();
    const rest = left();
    const all = rows();
    const next = rest.find((each) => all.indexOf(each) > all.indexOf(row)) ?? rest[0];
    const said = brief(row).querySelector("[data-said]")?.textContent ?? "";
    if (next) {
      go(next);
      announce(`${said} ${rest.length} left on this page.`);
    } else {
      document.querySelector("[data-again]").focus();
      announce(`${said} Nothing is left on this page; Enter loads it again.`);
    }
    refresh();
  };

  /* --- several at once --- */

  const chosen = () => rows().filter((row) => choice(row)?.checked);

  const count = () => {
    const place = document.querySelector("[data-chosen]");
    if (place) {
      const many = chosen().length;
      place.dataset.none ??= place.textContent;
      place.textContent = many ? `${many} chosen` : place.dataset.none;
      place.parentElement.classList.toggle("chosen--some", many > 0);
    }
  };

  const choose = (alike) => {
    const boxes = alike.map(choice).filter(Boolean);
    const all = boxes.every((box) => box.checked);
    for (const box of boxes) {
      box.checked = !all;
    }
    count();
    announce(`${chosen().length} chosen`);
  };

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-choice]")) {
      count();
    }
  });

  const decideOnChosen = (hash) => {
    const asked = new URLSearchParams(chosen().map((row) => ["request", choice(row).value]));
    window.location.assign(`${document.getElementById("batch").action}?${asked}${hash}`);
  };

  const act = (letter, hash) => {
    if (chosen().length) {
      decideOnChosen(hash);
    } else if (here()) {
      open(here(), letter);
    }
  };

  const keys = {
    j: () => step(1),
    k: () => step(-1),
    v: () => here() && open(here()),
    a: () => act("a", "#approve"),
    r: () => act("r", "#reject"),
    c: () => act("c", "#changes"),
    x: () => here() && choose([here()]),
    g: () => here() && choose(rows().filter((row) => row.dataset.group === here().dataset.group)),
    t: () => here() && choose(rows().filter((row) => row.dataset.type === here().dataset.type)),
  };

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !typing(event.target)) {
      const row = close();
      if (row) {
        go(row);
      } else if (chosen().length) {
        choose(chosen());
      }
      return;
    }
    if (!listens(event) || !document.querySelector("[data-rows]")) {
      return;
    }
    if (Object.hasOwn(keys, event.key)) {
      event.preventDefault();
      keys[event.key]();
    } else if (opened() && /^[1-9]$/.test(event.key) && key(event, brief(opened()))) {
      event.preventDefault();
    }
  });

  /* --- live: the list waits while somebody reads in it --- */

  let late = false;
  const source = document.querySelector("[data-refresh]");
  const refresh = () => {
    if (late && source && window.htmx) {
      late = false;
      window.htmx.trigger(source, "refresh");
    }
  };

  let ticked = [];
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "inbox") {
      return;
    }
    if (opened()) {
      event.detail.shouldSwap = false;
      late = true;
      announce("The list has changed; it is shown anew when this request is closed.");
    }
    ticked = chosen().map((row) => row.id);
  });

  let before = Number(document.getElementById("inbox")?.dataset.count ?? 0);
  document.body.addEventListener("htmx:afterSettle", () => {
    const inbox = document.getElementById("inbox");
    if (!inbox) {
      return;
    }
    prepare();
    for (const row of rows().filter((each) => ticked.includes(each.id) && choice(each))) {
      choice(row).checked = true;
    }
    count();
    const pending = Number(inbox.dataset.count);
    if (pending !== before) {
      announce(`${pending} approval${pending === 1 ? "" : "s"} pending`);
      document.title = document.title.replace(/Approvals( \(\d+\))?/, pending ? `Approvals (${pending})` : "Approvals");
      before = pending;
    }
  });

  const prepare = () => {
    for (const button of document.querySelectorAll("[data-opens]")) {
      button.hidden = false;
    }
    showKeys();
  };

  /* Who comes back from somewhere else goes on with the first that is left. */
  const goOn = () => {
    if (window.location.hash === "#first" && left()[0]) {
      go(left()[0]);
    }
  };
  window.addEventListener("hashchange", goOn);

  prepare();
  count();
  goOn();
})();
