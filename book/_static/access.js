/* What the theme's markup leaves out for readers who use a keyboard, a screen reader, a phone or paper. */

/* A box that scrolls takes the focus, or the keyboard could not scroll it, and shows by a fading edge that there is more.
   The theme looks once, when folds are closed. */
const SCROLLING = ".bd-article :is(pre, .cell_output, .pst-scrollable-table-container)";

function letScrollBoxesBeReached() {
  for (const box of document.querySelectorAll(SCROLLING)) {
    const scrolls = box.scrollWidth > box.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(box).overflowX);
    if (scrolls) box.tabIndex = 0;
    else if (box.tabIndex === 0) box.removeAttribute("tabindex");
    box.classList.toggle("more-to-the-right", scrolls && box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  }
}

addEventListener("load", letScrollBoxesBeReached);
addEventListener("resize", letScrollBoxesBeReached);
document.addEventListener("toggle", letScrollBoxesBeReached, true); // a <details> opens: its event does not bubble
document.addEventListener("scroll", (event) => {
  const box = event.target;
  if (box !== document && box.matches?.(SCROLLING))
    box.classList.toggle("more-to-the-right", box.tabIndex === 0 && box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
}, { capture: true, passive: true });

document.addEventListener("DOMContentLoaded", () => {
  /* docutils marks the entries of a bibliography with a role that ARIA has withdrawn, within a list of nothing. */
  for (const entry of document.querySelectorAll("[role='doc-biblioentry']")) entry.setAttribute("role", "listitem");

  /* The logo, the search and the list of pages at the side are one place to go to; the theme names only the list. */
  const side = document.querySelector(".bd-sidebar-primary");
  side?.setAttribute("role", "region");
  side?.setAttribute("aria-label", "The book");

  /* The notebook behind the page is saved, not shown as text, also when the page is opened from disk. */
  for (const link of document.querySelectorAll("a.btn-download-source-button")) link.download = "";

  /* On a phone the style sheet makes cards of these rows, and a browser then forgets that they are a table. */
  for (const table of document.querySelectorAll("table.often-said")) {
    table.setAttribute("role", "table");
    for (const [parts, role] of [["thead, tbody", "rowgroup"], ["tr", "row"], ["th", "columnheader"], ["td", "cell"]])
      for (const part of table.querySelectorAll(parts)) part.setAttribute("role", role);
  }
});

/* Left and right arrow turn the page, unless something on it has a use for them. */
addEventListener("keydown", (event) => {
  const link = { ArrowLeft: "a.left-prev", ArrowRight: "a.right-next" }[event.key];
  if (!link || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const at = document.activeElement ?? document.body;
  if (at.closest("input, textarea, select, [contenteditable], [tabindex='0'], [role='slider'], [data-vitedu], canvas, dialog, .popup")) return;
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth + 1) return; // the page itself scrolls
  document.querySelector(link)?.click();
});

/* Paper has no folds: all open before printing, and those that were closed close again. */
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("article details:not([open])")];
  for (const fold of opened) fold.open = true;
});
addEventListener("afterprint", () => {
  for (const fold of opened) fold.open = false;
});
