// Before the first picture: the theme that the reader chose, if any. A classic script, so that nothing flashes.
"use strict";
(() => {
  try {
    const theme = localStorage.getItem("trionet-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // No storage: the theme of the system.
  }
})();
