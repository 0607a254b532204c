"""The picture in a real browser: without scripts, with them, and in three dimensions."""

import re
from contextlib import ExitStack

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from dicomnode.console.app import build_app
from dicomnode.console.server import ConsoleServer
from dicomnode.demo.phantom import chest_ct
from tests.support.console import make_config, make_parts
from tests.support.findings import LEFT_LUNG, RIGHT_LUNG, make_findings
from tests.support.viewed import make_viewed_job
from tests.support.viewer_browser import launch, pixels_of, tab

SHAPE_KJI = (36, 88, 96)
SPACING_KJI_MM = (9.0, 4.0, 3.8)
BLUE, ORANGE = (80, 160, 255), (255, 170, 60)
"""Of the left and the right lung."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The pages of a job on the phantom, served over a socket."""
    hu, truth = chest_ct(
        slices=SHAPE_KJI[0],
        rows=SHAPE_KJI[1],
        columns=SHAPE_KJI[2],
        spacing_kji_mm=SPACING_KJI_MM,
    )
    labels = np.choose(truth, [0, LEFT_LUNG, RIGHT_LUNG]).astype(np.uint8)
    config = make_config(tmp_path_factory.mktemp("console"), port=0)
    with ExitStack() as stack:
        parts = make_parts(config, stack)
        job = make_viewed_job(
            parts,
            tmp_path_factory.mktemp("ct"),
            make=lambda paths: make_findings(paths, labels=labels),
            hu=hu,
            spacing_kji_mm=SPACING_KJI_MM,
        )
        server = ConsoleServer(build_app(parts), config.console)
        server.start()
        stack.callback(server.stop)
        yield f"{server.url}jobs/{job.id}"


@pytest.fixture(scope="module")
def playwright():
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright):
    with launch(playwright) as running:
        yield running


def plane(page, name):
    return page.locator(f"figure[data-plane={name}]")


def assert_is_drawn(figure):
    """The picture is loaded, and shows something."""
    expect(figure.locator("img")).to_be_visible()
    assert pixels_of(figure.locator("img").screenshot()).std() > 20


def query_of(page):
    return dict(pair.split("=") for pair in page.url.partition("?")[2].split("&"))


# --- without scripts


def test_without_scripts_all_planes_are_shown(browser, address):
    with tab(browser, scripts=False) as opened:
        opened.page.goto(f"{address}/view", wait_until="networkidle")

        for name in ("axial", "coronal", "sagittal"):
            assert_is_drawn(plane(opened.page, name))
        expect(opened.page.get_by_role("button", name="Show")).to_be_visible()
        expect(opened.page.get_by_role("heading", name="Findings")).to_be_visible()


def test_without_scripts_links_lead_from_slice_to_slice_and_plane_to_plane(browser, address):
    with tab(browser, scripts=False) as opened:
        page = opened.page
        page.goto(f"{address}/view?axial=10&coronal=20")
        page.get_by_role("link", name="Next axial slice").click()
        expect(plane(page, "axial").locator(".count")).to_have_text("11 of 36")
        page.get_by_role("link", name="Previous coronal slice").click()
        page.get_by_role("link", name="Enlarge coronal").click()

        query = query_of(page)
        assert (query["plane"], query["axial"], query["coronal"]) == ("coronal", "11", "19")
        assert plane(page, "coronal").bounding_box()["width"] > 600


def test_without_scripts_the_form_sets_window_segments_and_opacity(browser, address):
    with tab(browser, scripts=False) as opened:
        page = opened.page
        page.goto(f"{address}/view")
        page.get_by_role("radio", name="Bone").check(force=True)
        page.get_by_role("checkbox", name="Left lung").uncheck(force=True)
        page.get_by_role("button", name="Show").click()

        source = plane(page, "axial").locator("img").get_attribute("src")
        assert source.endswith("window=bone&segments=2&opacity=32")
        assert not page.get_by_role("checkbox", name="Left lung").is_checked()
        page.get_by_role("checkbox", name="Right lung").uncheck(force=True)
        page.get_by_role("button", name="Show").click()
        assert "segments=none" in plane(page, "axial").locator("img").get_attribute("src")


# --- with scripts


@pytest.fixture
def viewing(browser, address):
    with tab(browser) as opened:
        opened.page.goto(f"{address}/view?axial=10", wait_until="networkidle")
        expect(opened.page.locator("html.scripted")).to_have_count(1)
        yield opened


def count_of(page, name):
    return plane(page, name).locator(".count")


def test_the_wheel_turns_slices_without_a_new_page(viewing):
    page = viewing.page
    page.evaluate("window.unchanged = true")
    plane(page, "axial").locator(".screen").hover()

    page.mouse.wheel(0, 60)

    expect(count_of(page, "axial")).to_have_text("9 of 36")
    expect(plane(page, "axial").locator("img")).to_have_attribute(
        "src", re.compile(r"slices/axial/8\.png")
    )
    expect(plane(page, "axial").locator(".position")).to_have_text("z -131.0 mm")
    assert page.evaluate("window.unchanged")
    assert page.evaluate("window.scrollY") == 0, "the page does not scroll below the picture"


def test_neighbors_are_there_before_they_are_asked_for_and_nothing_flickers(viewing):
    page = viewing.page
    assert {f"axial/{n}" for n in range(5, 14)} <= set(viewing.slices_requested())
    # Whatever takes the place of a picture must be complete when it does.
    page.evaluate(
        """() => {
          window.empty = 0;
          new MutationObserver((changes) => changes.forEach((change) =>
            change.addedNodes.forEach((node) => {
              const isEmpty = !(node.complete && node.naturalWidth);
              if (node.tagName === "IMG" && isEmpty) window.empty += 1;
            }))).observe(document.querySelector("form"), { childList: true, subtree: true });
        }"""
    )

    for _ in range(3):
        page.keyboard.press("ArrowUp")
    expect(plane(page, "axial").locator("img")).to_have_attribute(
        "src", re.compile(r"slices/axial/12\.png")
    )
    page.wait_for_load_state("networkidle")

    asked = viewing.slices_requested()
    assert [each for each in asked if asked.count(each) > 1] == []
    assert page.evaluate("window.empty") == 0


def test_keys_turn_the_plane_that_has_the_focus_and_else_the_large_one(viewing):
    page = viewing.page
    page.keyboard.press("ArrowDown")
    expect(count_of(page, "axial")).to_have_text("9 of 36")
    page.keyboard.press("PageUp")
    expect(count_of(page, "axial")).to_have_text("19 of 36")
    page.keyboard.press("Home")
    expect(count_of(page, "axial")).to_have_text("36 of 36")

    page.get_by_role("button", name="Next sagittal slice").focus()
    page.keyboard.press("End")

    expect(count_of(page, "sagittal")).to_have_text("96 of 96")
    expect(count_of(page, "axial")).to_have_text("36 of 36")


def test_a_slider_turns_slices(viewing):
    slider = viewing.page.get_by_role("slider", name="Coronal slice")
    slider.fill("30")

    expect(count_of(viewing.page, "coronal")).to_have_text("30 of 88")
    slider.press("ArrowRight")
    expect(count_of(viewing.page, "coronal")).to_have_text("31 of 88")


def test_window_segments_and_opacity_change_at_once_and_the_address_tells(viewing):
    page = viewing.page
    page.get_by_role("radio", name="Mediastinum").check(force=True)
    page.get_by_role("checkbox", name="Right lung").uncheck(force=True)
    page.get_by_role("slider", name="Opacity").fill("80")

    for name in ("axial", "coronal", "sagittal"):
        expect(plane(page, name).locator("img")).to_have_attribute(
            "src", re.compile(r"window=mediastinum&segments=1&opacity=80$")
        )
    page.wait_for_url("**window=mediastinum&opacity=80&segments=1")
    page.reload(wait_until="networkidle")
    assert page.get_by_role("radio", name="Mediastinum").is_checked()
    assert not page.get_by_role("checkbox", name="Right lung").is_checked()
    expect(count_of(page, "axial")).to_have_text("10 of 36")


def test_a_click_shows_the_place_in_the_other_planes(viewing):
    page = viewing.page
    box = plane(page, "axial").locator(".screen").bounding_box()
    width, height = 96 * 3.8, 88 * 4.0
    scale = min(box["width"] / width, box["height"] / height)
    left = (box["width"] - width * scale) / 2
    top = (box["height"] - height * scale) / 2

    # A quarter from the patient's right, three quarters from the front.
    page.mouse.click(
        box["x"] + left + width * scale * 0.25 + 1, box["y"] + top + height * scale * 0.75 + 1
    )

    expect(count_of(page, "sagittal")).to_have_text("25 of 96")
    expect(count_of(page, "coronal")).to_have_text("67 of 88")
    expect(page.locator(".cross.across:visible")).to_have_count(3)
    # In the coronal plane the head is up: slice 10 of 36 lies low.
    coronal = plane(page, "coronal")
    line = coronal.locator(".cross.across").bounding_box()
    screen = coronal.locator(".screen").bounding_box()
    assert (line["y"] - screen["y"]) / screen["height"] == pytest.approx(1 - 9.5 / 36, abs=0.02)


def test_on_a_phone_planes_lie_below_one_another(browser, address):
    with tab(browser, width=390, height=800) as opened:
        opened.page.goto(f"{address}/view", wait_until="networkidle")

        boxes = [plane(opened.page, n).bounding_box() for n in ("axial", "coronal", "sagittal")]

        assert all(box["width"] > 340 for box in boxes)
        assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"]
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


# --- three dimensions


@pytest.fixture(scope="module")
def niivue(playwright, address):
    """The page in three dimensions, small, as software draws it."""
    with (
        launch(playwright, webgl=True) as browser,
        tab(browser, width=960, height=640) as opened,
    ):
        page = opened.page
        page.goto(f"{address}/view/3d")
        page.wait_for_selector("#stage[data-state]", timeout=240_000)
        state = page.locator("#stage").get_attribute("data-state")
        assert state == "ready", page.locator("#status").text_content()
        yield page


def near(pixels, color, tolerance):
    """Where a screenshot has about this hue; what is lit is brighter or darker."""
    wanted = np.array(color) / max(color)
    bright = pixels.max(axis=2)
    hue = pixels / np.maximum(bright, 1)[:, :, None]
    return (np.abs(hue - wanted).max(axis=2) < tolerance) & (bright > 60)


def lungs_in(canvas, tolerance):
    """Where the right and the left lung are on a canvas."""
    shot = pixels_of(canvas.screenshot())
    return near(shot, ORANGE, tolerance), near(shot, BLUE, tolerance)


def test_lungs_are_shown_in_three_dimensions_in_their_colors_right_on_the_left(niivue):
    niivue.get_by_role("radio", name="3D", exact=True).check(force=True)
    expect(niivue.locator("#planes")).to_be_hidden()

    right, left = lungs_in(niivue.locator("#solid"), 0.15)

    assert min(right.sum(), left.sum()) > 2000
    assert np.nonzero(right)[1].max() < np.nonzero(left)[1].min() + 20


def test_a_segment_that_is_not_wanted_is_not_shown_in_three_dimensions(niivue):
    niivue.get_by_role("radio", name="3D", exact=True).check(force=True)
    box = niivue.get_by_role("checkbox", name="Right lung")
    box.uncheck(force=True)

    right, left = lungs_in(niivue.locator("#solid"), 0.15)
    box.check(force=True)

    assert right.sum() < 50
    assert left.sum() > 2000


def test_the_planes_of_niivue_are_in_radiological_convention(niivue):
    niivue.get_by_role("radio", name="Planes", exact=True).check(force=True)
    expect(niivue.locator("#solid")).to_be_hidden()

    # Half is the gray of the CT.
    right, left = lungs_in(niivue.locator("#planes"), 0.22)

    height, width = right.shape
    # Coronal in the upper left quarter, axial below: in both the right lung is on the left.
    for rows in (slice(0, height // 2), slice(height // 2, None)):
        in_right, in_left = (np.nonzero(each[rows, : width // 2])[1] for each in (right, left))
        assert min(len(in_right), len(in_left)) > 300
        assert np.median(in_right) < np.median(in_left)


def test_without_webgl_it_is_said_that_slices_need_none(browser, address):
    with tab(browser) as opened:
        opened.page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
        opened.page.goto(f"{address}/view/3d")

        expect(opened.page.locator("#status")).to_contain_text("no WebGL 2")
        expect(opened.page.get_by_role("link", name="Slices")).to_be_visible()


def test_without_scripts_the_page_says_that_it_needs_them(browser, address):
    with tab(browser, scripts=False) as opened:
        opened.page.goto(f"{address}/view/3d")

        expect(opened.page.locator("#status")).to_contain_text("needs scripts")
