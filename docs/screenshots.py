"""Take the pictures of the README: `make screenshots` starts a studio on a scratch folder and looks at it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "browser"))

from conftest import DESKTOP, FLAGS, running_studio  # noqa: E402 - the browser tests know how to start a studio


def main() -> int:
    """Write docs/images/train.png: the Train page with the sample run prepared."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch) / "data"
        folder.mkdir()
        with running_studio(folder) as studio:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport=DESKTOP, base_url=studio.url)
            page.goto("/")
            page.locator("#home-support_tickets").click()
            page.wait_for_url("**/train?**")
            page.get_by_role("button", name="Start training").and_(page.locator(":enabled")).wait_for(timeout=60_000)
            page.locator("#train-chart .main-svg").first.wait_for(timeout=20_000)
            page.screenshot(path=str(IMAGES / "train.png"))
            browser.close()
    print(f"{IMAGES / 'train.png'} written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
