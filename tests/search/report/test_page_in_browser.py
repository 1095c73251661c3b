"""The report's page in a browser: Debian's `chromium` and `chromium-driver`, headless. Without them the tests are skipped."""

import json
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from search import ParameterGrid
from search.report.page import write_report
from tests.helpers.reports import HOSTILE, ranking

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(
        None in (CHROMIUM, DRIVER), reason="needs chromium and chromedriver: apt-get install chromium chromium-driver"
    ),
    pytest.mark.xdist_group("report"),  # one browser and one page for all of them
]


@pytest.fixture(scope="module")
def page(page_file):
    return page_file.as_uri()


@pytest.fixture(scope="module")
def chromium():
    options = Options()
    options.binary_location = CHROMIUM
    options.add_argument("--headless=new")
    options.add_argument("--hide-scrollbars")  # they would be part of the width
    options.add_argument("--no-sandbox")  # with a sandbox, it refuses to run as root, as in a container
    options.add_argument("--disable-dev-shm-usage")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium, page):
    chromium.get_log("browser")  # reading empties it
    chromium.get_log("performance")
    chromium.get(page)
    yield chromium
    assert chromium.get_log("browser") == []


def column(browser, name):
    """The visible cells of one column of the ranking."""
    script = """
        const names = [...document.querySelectorAll("#ranking-table th")].map((header) => header.textContent);
        return [...document.querySelectorAll("#ranking-table tbody tr")]
            .map((row) => row.cells[names.indexOf(arguments[0])].textContent);
    """
    return browser.execute_script(script, name)


def header(browser, name):
    return browser.find_element("xpath", f"//table[@id='ranking-table']//th[.='{name}']")


def sort_by(browser, name):
    header(browser, name).find_element("tag name", "button").click()
    return column(browser, name)


def count(browser):
    return browser.find_element("id", "count").text


def test_it_asks_for_nothing_but_itself(browser, page):
    browser.execute_script("document.querySelectorAll('img').forEach((image) => image.scrollIntoView())")
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert [address for address in addresses if not address.startswith("data:")] == [page]
    assert any(address.startswith("data:image/svg+xml") for address in addresses)


def test_markup_in_values_does_nothing(browser):
    assert browser.title == "A & B"
    assert HOSTILE in browser.find_element("id", "failures-table").text


def test_every_figure_is_drawn(browser):
    sizes = browser.execute_script("return [...document.images].map((image) => [image.complete, image.naturalWidth])")
    assert len(sizes) == 8
    assert all(complete and width > 300 for complete, width in sizes)


def test_numbers_sort_by_value_and_what_is_missing_comes_last(browser):
    ascending = sort_by(browser, "mean")
    assert ascending[-2:] == ["–", "–"]
    assert [float(text) for text in ascending[:-2]] == sorted(float(text) for text in ascending[:-2])
    assert header(browser, "mean").get_attribute("aria-sort") == "ascending"
    descending = sort_by(browser, "mean")
    assert descending == [*ascending[-3::-1], "–", "–"]
    assert header(browser, "mean").get_attribute("aria-sort") == "descending"
    assert sort_by(browser, "lr") == ["1e-05"] * 4 + ["0.1"] * 4
    assert header(browser, "mean").get_attribute("aria-sort") is None


def test_text_sorts_with_its_numbers_and_equals_keep_their_rank(browser):
    assert sort_by(browser, "hidden") == ["(10, 10)"] * 4 + ["(100, 75)"] * 4
    ranks = [int(text) for text in column(browser, "rank")]
    assert ranks[:4] == sorted(ranks[:4])
    assert ranks[4:] == sorted(ranks[4:])
    assert sort_by(browser, "rank") == [str(rank) for rank in range(1, 9)]


def test_the_keyboard_sorts(browser):
    button = header(browser, "activation").find_element("tag name", "button")
    button.send_keys(Keys.ENTER)
    assert column(browser, "activation") == ["relu"] * 4 + ["sigmoid"] * 4
    button.send_keys(Keys.SPACE)
    assert column(browser, "activation") == ["sigmoid"] * 4 + ["relu"] * 4


def test_the_keyboard_reaches_everything_in_order(browser):
    reached = []
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.switch_to.active_element
        if element.tag_name == "body":
            break
        reached.append(element.get_attribute("id") or element.get_attribute("aria-labelledby") or element.text)
        assert browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", element) == "solid"
    assert reached[0] == "Skip to the winners"
    words = reached.index("words")
    assert reached[words + 1 : words + 4] == ["status", "ranking-table-caption", "rank"]
    assert "failures-table-caption" in reached


def test_a_long_text_in_a_configuration_pushes_nothing_off_the_printed_page(browser, tmp_path):
    rows = ranking(ParameterGrid(note=["x" * 300, "word " * 60], lr=[0.1, 0.2]), troubles=False)
    browser.get(write_report(tmp_path, rows).as_uri())
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        widths = browser.execute_script(
            "return [document.getElementById('ranking-table').offsetWidth, document.querySelector('main').clientWidth]"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert widths[0] <= widths[1]


def test_words_filter_as_they_are_typed(browser):
    assert count(browser) == "8 of 8 configurations"
    words = browser.find_element("id", "words")
    words.send_keys("Sigmoid 1e-05")
    assert column(browser, "activation") == ["sigmoid"] * 2
    assert column(browser, "lr") == ["1e-05"] * 2
    assert count(browser) == "2 of 8 configurations"
    words.clear()
    words.send_keys("hidden=(10, 10)")
    assert column(browser, "hidden") == ["(10, 10)"] * 4
    words.clear()
    words.send_keys("no such thing")
    assert column(browser, "rank") == []
    assert count(browser) == "0 of 8 configurations"
    words.send_keys(Keys.ESCAPE)
    assert count(browser) == "8 of 8 configurations"


def test_a_status_filters_together_with_words_and_survives_sorting(browser):
    status = Select(browser.find_element("id", "status"))
    assert [option.text for option in status.options] == ["all", "diverged", "done", "failed"]
    status.select_by_visible_text("done")
    assert column(browser, "status") == ["done"] * 6
    browser.find_element("id", "words").send_keys("relu")
    assert count(browser) == "4 of 8 configurations"
    assert len(sort_by(browser, "lr")) == 4
    status.select_by_visible_text("failed")
    assert count(browser) == "0 of 8 configurations"


def test_the_number_of_rows_is_announced(browser):
    assert browser.find_element("id", "count").get_attribute("role") == "status"


@pytest.mark.parametrize(("width", "mobile"), [(390, True), (1280, False)])
def test_the_page_is_as_wide_as_the_screen(browser, width, mobile):
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.refresh()
        shown, scrolled, table, box = browser.execute_script("""
            const scroller = document.querySelector("#ranking .scroller");
            const root = document.documentElement;
            return [root.clientWidth, root.scrollWidth, scroller.scrollWidth, scroller.clientWidth];
        """)
        narrow = browser.execute_script("return document.images[0].currentSrc !== document.images[0].src")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert shown == scrolled == width
    assert table > box  # the table scrolls inside its own box
    assert narrow == mobile


def test_on_paper_the_whole_table_stands_without_controls(browser):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not browser.find_element("id", "words").is_displayed()
        overflow, height = browser.execute_script("""
            const style = getComputedStyle(document.querySelector("#ranking .scroller"));
            return [style.overflow, style.maxHeight];
        """)
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert (overflow, height) == ("visible", "none")


def test_without_script_it_is_a_complete_page(browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.refresh()
        assert not browser.find_element("id", "words").is_displayed()
        assert browser.find_elements("css selector", "#ranking-table button") == []
        rows = browser.find_elements("css selector", "#ranking-table tbody tr")
        assert [row.text.split()[0] for row in rows] == [str(rank) for rank in range(1, 9)]
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_of_very_many_rows_the_first_thousand_are_shown(browser, tmp_path):
    grid = ParameterGrid(lr=[place / 1000 for place in range(501)], activation=["relu", "sigmoid"])
    browser.get(write_report(tmp_path, ranking(grid, n_folds=1, troubles=False)).as_uri())
    assert count(browser) == "1002 of 1002 configurations, the first 1000 are shown"
    assert len(column(browser, "rank")) == 1000
    sort_by(browser, "lr")
    assert sort_by(browser, "lr")[:3] == ["0.5", "0.5", "0.499"]
    browser.find_element("id", "words").send_keys("lr=0.001|")
    assert count(browser) == "2 of 1002 configurations"
