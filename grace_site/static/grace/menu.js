/* On a narrow screen the menu begins closed; without this it is open, which is fine too. */
"use strict";
(() => {
  const narrow = window.matchMedia("(max-width: 54rem)");
  const menu = document.querySelector(".menu");
  const follow = () => menu.toggleAttribute("open", !narrow.matches);
  narrow.addEventListener("change", follow);
  follow();
})();
