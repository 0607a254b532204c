"""The console in a real browser: without scripts, with them, by keyboard, on a phone, under attack.

Whatever a page logs as an error, a breach of the Content Security Policy among it, is a failure.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect, sync_playwright

from dicomnode.console.app import build_app
from dicomnode.console.server import ConsoleServer
from dicomnode.database.job_rows import get_job, set_job
from tests.support.console import (
    cheap_line,
    make_config,
    make_parts,
    record_job,
    store_files,
)
from tests.support.ct import make_series
from tests.support.deliveries import set_delivery

PASSWORD = "a long password"  # noqa: S105 - invented
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    # Nothing outside is asked for.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def tab(chromium, **how):
    """Open a page that must not complain."""
    context = chromium.new_context(
        viewport=how.pop("viewport", {"width": 1280, "height": 900}), **how
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    yield page
    context.close()
    assert complaints == []


@contextmanager
def served(folder, **access):
    config = make_config(folder, port=0, access=access)
    with ExitStack() as stack:
        parts = make_parts(config, stack, components={"database": None}, models={"lung": None})
        server = ConsoleServer(build_app(parts), config.console)
        server.start()
        stack.callback(server.stop)
        yield parts, server.url


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    """A console that asks nobody, with a job that failed."""
    folder = tmp_path_factory.mktemp("console")
    with served(folder) as (parts, url):
        record_job(parts.database, state="failed", sentence="a model was not there")
        yield parts, url


@pytest.fixture
def job(console):
    """The job, failed again whatever a test before has done to it."""
    parts, _ = console
    job_id = "1.2.3:0123456789abcdef:chest-00000001"
    with parts.database.begin() as transaction:
        set_job(transaction, job_id, state="failed", attempt=1)
    return job_id


def state_of(parts, job_id):
    with parts.database.begin() as transaction:
        return get_job(transaction, job_id).state


def test_the_list_follows_what_happens_and_keeps_the_focus(chromium, console, job):
    parts, url = console
    with tab(chromium) as page:
        page.clock.install()
        page.goto(url)
        page.get_by_role("link", name="1.2.3", exact=True).focus()
        expect(page.locator("tbody .state")).to_have_text("failed")

        with parts.database.begin() as transaction:
            set_job(transaction, job, state="done")
            set_delivery(transaction, job, "share", state="delivered", attempts=1, words="written")

        page.clock.run_for("00:06")  # it looks every five seconds
        expect(page.locator("tbody .state")).to_have_text("done", timeout=60_000)
        expect(page.get_by_text("delivered")).to_be_visible()
        assert page.evaluate("document.activeElement.textContent") == "1.2.3"


def test_an_operator_retries_a_job(chromium, console, job):
    parts, url = console
    with tab(chromium) as page:
        page.goto(f"{url}series/1.2.3")
        page.get_by_role("button", name="Retry analysis").click()

        expect(page.get_by_role("status")).to_have_text("It was enqueued again.")
        assert state_of(parts, job) == "queued"


def test_all_of_it_works_without_scripts(chromium, console, job, tmp_path):
    parts, url = console
    files = make_series(tmp_path / "ct")
    with tab(chromium, java_script_enabled=False) as page:
        page.goto(url)
        page.get_by_label("State").select_option("failed")
        page.get_by_role("button", name="Choose").click()
        page.get_by_role("link", name="1.2.3", exact=True).click()
        page.get_by_role("button", name="Dismiss").click()
        expect(page.get_by_role("status")).to_contain_text("dismissed")
        page.get_by_role("link", name="Pipelines").click()
        page.get_by_role("button", name="Test share now").click()
        expect(page.get_by_role("status")).to_have_text("share: can be written")
        page.get_by_role("link", name="Upload").click()
        page.get_by_label("Files").set_input_files(files)
        page.get_by_role("button", name="Upload").click()
        expect(page.get_by_role("heading", name="9 stored, 0 ignored, 0 refused")).to_be_visible()
    assert state_of(parts, job) == "cancelled"


def test_a_folder_is_uploaded_and_bad_files_in_it_are_named(chromium, console, tmp_path):
    _, url = console
    folder = tmp_path / "study"
    make_series(folder)
    (folder / "notes.txt").write_text("not DICOM")
    with tab(chromium) as page:
        page.goto(f"{url}upload")
        page.get_by_label("A folder").set_input_files(folder)
        expect(page.locator("#progress")).to_contain_text("10 files")
        page.get_by_role("button", name="Upload").click()

        heading = page.get_by_role("heading", name="9 stored, 0 ignored, 1 refused")
        expect(heading).to_be_focused()
        expect(page.get_by_role("row", name="notes.txt")).to_contain_text("no DICOM file")


@pytest.mark.usefixtures("job")
def test_the_keyboard_reaches_everything_and_shows_where_it_is(chromium, console):
    _, url = console
    with tab(chromium) as page:
        page.goto(f"{url}series/1.2.3")
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to content")).to_be_focused()
        expect(page.get_by_text("Skip to content")).to_be_in_viewport()
        page.keyboard.press("Enter")
        reached = []
        while "Dismiss" not in reached and len(reached) < 20:
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.textContent.trim()"))
        assert "Retry analysis" in reached
        assert reached[-1] == "Dismiss"
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert outline == "3px"


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(
    "path", ["", "series/1.2.3", "pipelines", "quarantine", "upload", "api/docs"]
)
def test_pages_fit_a_phone(chromium, console, path):
    _, url = console
    with tab(chromium, viewport={"width": 390, "height": 844}) as page:
        page.goto(url + path)

        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_page_elsewhere_cannot_act_in_the_name_of_whoever_looks_at_it(chromium, console, job):
    parts, url = console
    form = f'<form method="post" action="{url}jobs/{job}/retry"></form>'

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self):
            body = f"{form}<script>document.forms[0].submit()</script>".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Not of interest."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(url)
        # Another site, as far as browsers are concerned.
        with page.expect_response(f"{url}jobs/{job}/retry") as answer:
            page.goto(f"http://localhost:{server.server_address[1]}/")
        assert answer.value.status == 403
    finally:
        context.close()
        server.shutdown()
        server.server_close()
        thread.join()
    assert state_of(parts, job) == "failed"


def test_somebody_signs_in_looks_at_a_patient_and_signs_out(chromium, tmp_path):
    path = tmp_path / "passwords"
    path.write_text(cheap_line("anna", "operator", PASSWORD))
    files = make_series(tmp_path / "ct", PatientName="Phantom^Paula", PatientID="PH-1")
    with served(tmp_path, password_file=path) as (parts, url), tab(chromium) as page:
        store_files(parts, files)
        page.goto(f"{url}?state=receiving")
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        assert page.url == f"{url}?state=receiving", "where one wanted to go"
        expect(page.get_by_text("Phantom Paula")).not_to_be_visible()
        page.get_by_role("link", name="Show patients").click()
        expect(page.get_by_text("Phantom Paula")).to_be_visible()
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        page.goto(url)
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
