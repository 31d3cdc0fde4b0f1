"""Pages looked at in a real browser: headless Chromium, its console, its network, and axe's accessibility checks."""

import contextlib
import pathlib
import shutil
import time

import pytest

DESKTOP, PHONE = (1280, 900), (390, 844)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextlib.contextmanager
def chromium():
    """Chromium of this machine, as Playwright drives it; skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian's package `chromium`)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Visit:
    """One page from disk: `page` is Playwright's; `errors` what its console and scripts complained of; `asked` what it
    asked for beside files."""

    def __init__(self, browser, path, size=DESKTOP, dark=False):
        scheme = "dark" if dark else "light"
        width, height = size
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )
        self.page = self.context.new_page()
        self.errors, self.asked = [], []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))
        self.page.goto(pathlib.Path(path).resolve().as_uri())

    def _hear(self, message) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _note(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.asked.append(url)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def violations(self) -> list[str]:
        """What axe finds: one line a rule, with the elements concerned."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{rule['id']} ({rule['impact']}): {rule['help']}: "
            + "; ".join(node["html"][:150] for node in rule["nodes"][:5])
            for rule in found
        ]

    def until(self, what: str, seconds: float = 60):
        """What JavaScript answers once it is true; `wait_for_function` needs eval, which pages may forbid."""
        end = time.monotonic() + seconds
        while not (found := self.page.evaluate(what)):
            assert time.monotonic() < end, what
            time.sleep(0.02)
        return found

    def wider_than_the_window(self) -> int:
        """Pixels by which the page as a whole scrolls sideways; 0 is as it should be."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def assert_fine(browser, path) -> None:
    """A page from disk is sound in Chromium, at desktop width in light and at phone width in dark.

    Nothing is complained of or asked from a network, axe finds nothing, the page does not scroll sideways as a whole,
    and whatever it links to is there.
    """
    path = pathlib.Path(path)
    for size, dark in ((DESKTOP, False), (PHONE, True)):
        with Visit(browser, path, size=size, dark=dark) as visit:
            visit.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            found = visit.violations()
            assert not found, f"{path}, {size}, {'dark' if dark else 'light'}: {found}"
            assert visit.wider_than_the_window() == 0, f"{path} scrolls sideways at {size}"
            assert visit.errors == []
            assert visit.asked == []
            links = visit.page.eval_on_selector_all("a[href]", "all => all.map(one => one.getAttribute('href'))")
            broken = visit.page.evaluate(
                "Array.from(document.querySelectorAll('a[href^=\"#\"]')).map(one => one.getAttribute('href').slice(1))"
                ".filter(id => !document.getElementById(id))"
            )
    assert broken == [], "links within the page that lead nowhere"
    assert [link for link in links if not link.startswith("#") and not (path.parent / link).is_file()] == []
