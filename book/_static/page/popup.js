/* Pop-ups of terms and papers: a pointer that rests on a link, a finger that taps it, or Enter opens one.

   What they say stands in the page, written by book/tools/site/popups.py. A term's meaning comes first; its Korean
   equivalent is shown on request, and from then on always, until it is folded again. */
"use strict";
(function () {
  const { keep, make } = vitedu;
  let box, opener, timer;

  function wordsFor(link, data) {
    if (link.matches(".glossary-term")) return data.terms?.[link.hash.slice(1)];
    return data.papers?.[link.getAttribute("href")];
  }

  function fill(link, words) {
    if (words.html !== undefined) {
      const meaning = make("p", {});
      meaning.innerHTML = words.html;
      const korean = make("details", { class: "popup-korean", open: keep.read("korean", false) },
        make("summary", {}, "In Korean"), make("p", { lang: "ko" }, words.korean));
      korean.addEventListener("toggle", () => keep.write("korean", korean.open || undefined));
      box.replaceChildren(make("p", { class: "popup-title" }, words.title), meaning, korean,
        make("p", {}, make("a", { href: link.href }, "In the glossary")));
      window.MathJax?.typesetPromise?.([meaning]).then(() => opener && place(opener));
    } else {
      box.replaceChildren(make("p", { class: "popup-title" }, words.title), make("p", {}, words.authors), make("p", {}, words.where),
        make("p", {}, make("a", { href: link.href }, `Read it at ${new URL(link.href).host}`),
          ...(words.entry ? [" · ", make("a", { href: words.entry }, "In the bibliography")] : [])));
    }
    box.setAttribute("aria-label", words.title);
  }

  /* Under the link, or above it where there is no room below; never wider than the screen. */
  function place(link) {
    const at = link.getClientRects()[0] ?? link.getBoundingClientRect(), host = box.offsetParent.getBoundingClientRect();
    const left = Math.max(8, Math.min(at.left, document.documentElement.clientWidth - box.offsetWidth - 8));
    const below = at.bottom + 6, above = at.top - box.offsetHeight - 6;
    const top = below + box.offsetHeight > innerHeight && above > 0 ? above : below;
    box.style.left = `${left - host.left}px`;
    box.style.top = `${top - host.top}px`;
  }

  function open(link, words, take) {
    clearTimeout(timer);
    if (opener && opener !== link) close();
    opener = link;
    link.setAttribute("aria-expanded", "true");
    fill(link, words);
    box.hidden = false;
    place(link);
    if (take) box.focus({ preventScroll: true });
  }

  function close(back = false) {
    clearTimeout(timer);
    if (!opener) return;
    opener.setAttribute("aria-expanded", "false");
    box.hidden = true;
    if (back) opener.focus();
    opener = undefined;
  }

  const later = (then, wait) => { clearTimeout(timer); timer = setTimeout(then, wait); };

  function prepare(link, words) {
    let pointer = "";
    link.setAttribute("aria-haspopup", "dialog");
    link.setAttribute("aria-expanded", "false");
    link.addEventListener("pointerdown", (event) => { pointer = event.pointerType; });
    link.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && later(() => open(link, words, false), 250));
    link.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && later(close, 300));
    link.addEventListener("click", (event) => {
      const byMouse = event.detail > 0 && (event.pointerType || pointer) === "mouse"; // it has seen the pop-up: it follows the link
      if (byMouse || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      open(link, words, true);
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    const data = JSON.parse(document.getElementById("popup-data").textContent);
    box = make("div", { class: "popup", role: "dialog", tabindex: -1, hidden: true });
    document.querySelector("article").append(box);
    for (const link of document.querySelectorAll("article a:is(.glossary-term, .citation)")) {
      const words = wordsFor(link, data);
      if (words) prepare(link, words);
    }
    box.addEventListener("pointerenter", () => clearTimeout(timer));
    box.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && !box.contains(document.activeElement) && later(close, 300));
    box.addEventListener("focusout", (event) => event.relatedTarget && !box.contains(event.relatedTarget) && close());
    addEventListener("keydown", (event) => event.key === "Escape" && opener && (event.preventDefault(), close(true)));
    addEventListener("pointerdown", (event) => opener && !box.contains(event.target) && event.target !== opener && close());
    addEventListener("resize", () => opener && place(opener));
  });
})();
