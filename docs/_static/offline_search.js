// The excerpts of the search, for pages that come from files: a browser doesn't fetch those. See _ext/offline_search.py.
"use strict";

if (location.protocol === "file:" && /\/search\.html$/.test(location.pathname)) {
  const texts = new Promise((resolve) => {
    const script = document.createElement("script");
    script.src = "_static/page_texts.js";
    script.onload = () => resolve(window.pageTexts);
    document.head.append(script);
  });
  window.fetch = async (url) => {
    const page = String(url).replace(/^\.\//, "").replace(/\.html.*$/, "");
    return new Response((await texts)[page] ?? "");
  };
}
