"""A real browser for tests of pages: its complaints, what it loads from elsewhere, what a page lacks for people."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, async_playwright

ARGS = (
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
READY = "html[data-ready]"
LACKS = """() => {
  const lacks = [];
  const named = (one) => (one.getAttribute("aria-label") || one.textContent || one.title || "").trim();
  const labelled = (one) => one.labels && one.labels.length || one.getAttribute("aria-label");
  if (!document.documentElement.lang) lacks.push("no language");
  if (document.querySelectorAll("h1").length !== 1) lacks.push("not one h1");
  if (!document.querySelector("main")) lacks.push("no main");
  let level = 0;
  for (const one of document.querySelectorAll("h1, h2, h3, h4")) {
    const now = Number(one.tagName[1]);
    if (now > level + 1) lacks.push("heading skips to " + one.tagName + ": " + one.textContent.trim());
    level = now;
  }
  const all = (wanted) => [...document.querySelectorAll(wanted)];
  for (const one of all("a[href], button")) if (!named(one)) lacks.push("unnamed " + one.outerHTML);
  for (const one of all("input:not([type=hidden]), select, textarea"))
    if (!labelled(one)) lacks.push("no label: " + one.name);
  for (const one of all("thead th")) if (!one.getAttribute("scope")) lacks.push("th without scope");
  for (const one of all("img:not([alt])")) lacks.push("img without alt");
  for (const one of all("svg:not([aria-hidden]):not([role])")) lacks.push("svg says nothing");
  const ids = all("[id]").map((one) => one.id);
  for (const id of ids) if (ids.filter((other) => other === id).length > 1) lacks.push("id twice: " + id);
  for (const one of all("[aria-labelledby]"))
    if (!document.getElementById(one.getAttribute("aria-labelledby"))) lacks.push("label is missing: " + one.outerHTML);
  for (const one of all(".chip")) if (!one.querySelector(".shape")) lacks.push("colour alone");
  if (document.querySelector("[style]")) lacks.push("an inline style");
  if (document.documentElement.scrollWidth > innerWidth + 1) lacks.push("wider than the window");
  return [...new Set(lacks)];
}"""


@dataclass
class Watched:
    """A page and everything wrong about it."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)
    """Console errors and exceptions."""
    elsewhere: list[str] = field(default_factory=list)
    """Requests to any other place than the page's own server."""

    async def open(self, path: str, *, ready: bool = True) -> None:
        """Go there; it must answer well and, with JavaScript on, say that it is ready."""
        reply = await self.page.goto(self.base + path)
        assert reply is not None
        assert reply.status == 200, path
        if ready:
            await self.page.wait_for_selector(READY, state="attached")

    async def text(self, selector: str = "main") -> str:
        return await self.page.inner_text(selector)

    async def lacks(self) -> list[str]:
        """What a person with a screen reader, a keyboard or a narrow window would miss."""
        found: list[str] = await self.page.evaluate(LACKS)
        return found

    async def picture(self, folder: Path, name: str) -> None:
        await self.page.screenshot(path=folder / f"{name}.png", full_page=True)


@asynccontextmanager
async def browser_at(path: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(ARGS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def watched(
    browser: Browser,
    base: str,
    *,
    language: str = "en",
    scheme: Literal["light", "dark"] = "light",
    size: dict[str, int] | None = None,
    javascript: bool = True,
) -> AsyncIterator[Watched]:
    given: Any = DESK if size is None else size
    context = await browser.new_context(viewport=given, color_scheme=scheme, java_script_enabled=javascript)
    await context.add_cookies(
        [{"name": f"lang_{house}", "value": language, "url": base} for house in ("office", "hub")]
    )
    page = await context.new_page()
    page.set_default_timeout(20_000)
    found = Watched(page, base)
    own = urlsplit(base).netloc

    def requested(url: str) -> None:
        if not url.startswith("data:") and urlsplit(url).netloc != own:
            found.elsewhere.append(url)

    page.on("console", lambda message: found.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("request", lambda request: requested(request.url))
    try:
        yield found
    finally:
        await context.close()
