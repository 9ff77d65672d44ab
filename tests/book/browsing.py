"""A browser for the tests of the site: the system's Chromium without a network, and what it sees of one page."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Route

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = "Chromium is missing; install it: apt install chromium"
# No other host is ever reached: names lead nowhere, but for this machine's own address. Nothing is fetched for itself.
FLAGS = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-sandbox", "--disable-gpu", "--disable-quic"]
FLAGS += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 120_000  # milliseconds: a hang fails in the end, a busy machine does not

MATHJAX = "**/mathjax/*.js*"
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
GRAVE = {"serious", "critical"}
BY_LAYOUT = ["region", "empty-table-header"]  # moderate, and held to all the same
BY_COLOUR = ["color-contrast", "link-in-text-block"]  # the rules whose answer may differ in the dark
OPEN_FOLDS = "document.querySelectorAll('details').forEach(fold => fold.open = true)"
# Thousands of coloured words of code would take axe-core minutes: each colour in each kind of box stays once, others
# become plain text. Of a formula, the words for screen readers stay, and not the signs, which have the text's colour.
SIMPLIFY = """() => {
    const seen = new Set();
    for (const word of document.querySelectorAll('div.highlight pre span')) {
        const kind = word.className + ' in ' + word.closest('div.highlight').parentElement.parentElement.className;
        if (seen.has(kind)) word.replaceWith(...word.childNodes); else seen.add(kind);
    }
    document.querySelectorAll('div.highlight pre').forEach(code => code.normalize());
    document.querySelectorAll('mjx-math').forEach(signs => signs.replaceChildren());
}"""
RUN_AXE = """rules => axe.run(document,
    {resultTypes: ['violations'], preload: false, ...(rules ? {runOnly: rules} : {})}).then(result => result.violations
        .flatMap(rule => rule.nodes.map(node => [rule.impact, rule.id, node.target.flat().join(' '), node.html])))"""

# What is wider than the screen and stands in no box of its own that scrolls; fixed things off the screen aside.
STICKING_OUT = """() => [...document.querySelectorAll('.bd-main *')].filter(part => {
    if (part.getBoundingClientRect().right <= innerWidth + 1 || !part.checkVisibility()) return false;
    for (let box = part; box; box = box.parentElement) {
        const style = getComputedStyle(box);
        if (style.position === 'fixed' || style.clip === 'rect(1px, 1px, 1px, 1px)') return false;
        if (/auto|scroll/.test(style.overflowX) && box.getBoundingClientRect().right <= innerWidth + 1) return false;
    }
    return true;
}).map(part => part.outerHTML.slice(0, 100))"""
FORMULAS = """() => [document.querySelectorAll('mjx-container').length,
    [...document.querySelectorAll('mjx-merror, [data-mjx-error]')].map(part => part.textContent)]"""


@dataclass
class Look:
    """What a browser met on one page, opened once from disk."""

    elsewhere: list[str] = field(default_factory=list)  # requests for anything but a file of the site
    failed: list[str] = field(default_factory=list)  # requests without an answer
    complaints: list[str] = field(default_factory=list)  # errors on the console and in scripts
    formulas: int = 0
    broken_formulas: list[str] = field(default_factory=list)
    busy: float = 0.0  # seconds of work of the page's own thread until it reacts to the reader
    barriers: dict[str, list[str]] = field(default_factory=dict)  # light, dark, phone -> grave ones by axe-core
    layout: list[str] = field(default_factory=list)  # parts outside all landmarks, and headers without words
    sticking_out: list[str] = field(default_factory=list)  # on a phone


def do_without(on_test_machine: bool) -> NoReturn:
    """Elsewhere a test that needs the browser is skipped, with the remedy; on a test machine it never is."""
    if on_test_machine:
        pytest.fail(MISSING, pytrace=False)
    pytest.skip(MISSING)


def new_context(browser: Browser, **settings) -> BrowserContext:
    """As a reader has it who asks for light pages and for no motion: without it, colours are met on their way."""
    context = browser.new_context(viewport=DESK, color_scheme="light", reduced_motion="reduce", **settings)
    context.set_default_timeout(PATIENCE)
    return context


def listen(page: Page, look: Look) -> None:
    def on_request(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:")):
            look.elsewhere.append(request.url)

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            look.complaints.append(message.text)

    page.on("request", on_request)
    page.on("requestfailed", lambda request: look.failed.append(request.url))
    page.on("response", lambda response: look.failed.append(response.url) if response.status >= 400 else None)
    page.on("console", on_console)
    page.on("pageerror", lambda error: look.complaints.append(str(error)))


def seconds_busy(context: BrowserContext, page: Page, address: str) -> float:
    """Processor seconds of the page's main thread until DOMContentLoaded: its own scripts have run and it reacts.

    On a machine with nothing else to do they pass on the clock; on a busy one the clock measures the neighbours.
    MathJax comes later (`async`) and sets the formulas in short pieces. It is held back until the time is read, or a
    part of its work that depends on chance would be counted.
    """
    held: list[Route] = []
    page.route(MATHJAX, lambda route: held.append(route))
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(address, wait_until="domcontentloaded")
    metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    for route in held:
        route.continue_()
    page.unroute(MATHJAX)
    return metrics["TaskDuration"]


def grave(page: Page, rules: list[str] | None = None) -> list[str]:
    """What axe-core finds on the page as it is now, and calls serious or critical."""
    found = page.evaluate(RUN_AXE, rules)
    return [f"{rule}: {place}: {html[:200]}" for impact, rule, place, html in found if impact in GRAVE]


def read_formulas(page: Page) -> tuple[int, list[str]]:
    """How many formulas MathJax has set, and the texts that it did not understand."""
    page.wait_for_function("!window.MathJax || MathJax.startup.promise.then(() => true)")
    return tuple(page.evaluate(FORMULAS))


def look_at(browser: Browser, path: Path) -> Look:
    """Open a page from disk and look at it three ways: light, dark, and on a phone, with every fold open."""
    look = Look()
    context = new_context(browser, offline=True)
    page = context.new_page()
    listen(page, look)
    look.busy = seconds_busy(context, page, path.as_uri())
    page.wait_for_load_state("load")
    look.formulas, look.broken_formulas = read_formulas(page)
    page.evaluate(AXE)
    page.evaluate(OPEN_FOLDS)
    page.set_viewport_size(PHONE)
    look.sticking_out = page.evaluate(STICKING_OUT)
    look.barriers["phone"] = grave(page, ["scrollable-region-focusable"])
    page.set_viewport_size(DESK)
    page.evaluate(SIMPLIFY)
    look.layout = [f"{rule}: {place}: {html[:200]}" for _, rule, place, html in page.evaluate(RUN_AXE, BY_LAYOUT)]
    look.barriers["light"] = grave(page)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    look.barriers["dark"] = grave(page, BY_COLOUR)
    context.close()
    return look
