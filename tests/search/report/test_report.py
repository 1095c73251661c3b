import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

import search.report.page
from search import Outcome, ParameterGrid, SearchError
from search.ranking.optimism import Optimism
from search.ranking.ranking import rank
from search.report.page import write_report
from tests.helpers.reports import HOSTILE, contents, ranking, retrained

pytestmark = pytest.mark.xdist_group("report")  # one page for all of them


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text inside the elements of one tag."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements, self.open, self.texts = [], [], []
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in {"meta", "link", "img", "input", "source"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((tuple(self.open), data))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag=None):
        return " ".join("".join(data for path, data in self.texts if tag is None or tag in path).split())


@pytest.fixture(scope="module")
def page(page_file):
    return Page(page_file)


def without_figures():
    """A ranking whose page is made in an instant, for tests of the file alone."""
    return ranking(ParameterGrid(lr=[0.1]), n_folds=1, troubles=False)


def test_the_markup_is_closed_and_names_are_unique(page):
    assert page.open == []
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    referred = [link["href"][1:] for link in page.all("a")]
    referred += [a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a]
    referred += [label["for"] for label in page.all("label")]
    assert set(referred) <= set(names)


def test_nothing_refers_to_another_file(page):
    addresses = [a[key] for _, a in page.elements for key in ("src", "srcset") if key in a]
    addresses += [link["href"] for link in page.all("link")]
    assert len(addresses) > 10
    assert all(address.startswith("data:") for address in addresses)
    assert "url(" not in page.text("style")
    assert "@import" not in page.text("style")


def test_the_security_policy_lets_only_the_own_style_and_script_act(page):
    [policy] = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        [text] = re.findall(f"<{tag}>(.*?)</{tag}>", page.source, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy


def test_values_and_reasons_are_text_wherever_they_stand(page):
    assert len(page.all("script")) == 1
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in page.all("img"))
    assert page.text().count(HOSTILE) == 3  # question, reason, fact
    assert page.text("h1") == "A & B"
    assert page.text("pre") == 'pip install . echo "<&>"'


def test_every_figure_says_in_words_what_it_shows(page):
    alternatives = [image["alt"] for image in page.all("img")]
    assert 'Points, "as given".' in alternatives
    assert all(alternatives)
    assert len(set(alternatives)) == len(alternatives) == len(page.all("figcaption")) == 8


def test_it_says_how_each_winner_was_chosen_and_which_number_flatters(page):
    cards = page.text("article")
    assert (
        "The lowest mean loss over 4 validation folds, of 8 configurations. The test points were not used to choose it."
        in cards
    )
    assert "Its test loss is a fair estimate of the loss on new points." in cards
    assert "The best 3 were trained again on all training points; this one has the lowest test loss." in cards
    assert "The test points chose it, so its test loss flatters it: it is the smallest of 3" in cards
    assert "within one standard error of the best" in cards


def test_it_counts_those_that_cannot_be_told_from_the_best(tmp_path, page):
    rows = ranking()
    comparison = contents(rows)["comparison"]
    text = page.text("section")
    assert f"{len(comparison.indistinguishable)} of 6 configurations cannot be told from the best" in text
    assert "95 % interval" in text
    assert str(contents(rows)["optimism"]).splitlines()[0] in text
    assert "Nested: 0.7." in text


def test_the_table_holds_every_configuration_in_order(page):
    [table] = re.findall('<table id="ranking-table">(.*?)</table>', page.source, flags=re.DOTALL)
    lines = [re.findall("<td[^>]*>(.*?)</td>", line) for line in table.split("<tr>")[2:]]
    names = re.findall("<th[^>]*>(.*?)</th>", table)
    rows = ranking()
    assert names[:5] == ["rank", "hidden", "activation", "lr", "mean"]  # not the epochs, which are the same for all
    assert "The same for all: epochs 20." in page.text("section")
    assert [line[:4] for line in lines] == [
        [str(row.rank), *(str(row.configuration[name]) for name in ("hidden", "activation", "lr"))] for row in rows
    ]
    assert [float(line[4]) for line in lines[:6]] == pytest.approx([row.mean for row in rows[:6]], rel=1e-4)
    assert [line[-1] for line in lines[6:]] == [row.status for row in rows[6:]]
    assert lines[0][names.index("test loss")] == "0.77500"
    assert lines[0][names.index("difference")] == "0.00"
    assert set(lines[6][4:-5]) == {"–"}


def test_failures_stand_with_their_reasons(page):
    [table] = re.findall('<table id="failures-table">(.*?)</table>', page.source, flags=re.DOTALL)
    assert table.count("<tr>") == 3
    assert "fold 0: NonFiniteLossError: loss is inf" in table
    assert "hidden (100, 75), activation sigmoid, lr 1e-05, epochs 20" in table


def test_equal_input_gives_equal_bytes(tmp_path, page_file):
    rows = ranking()
    again = write_report(tmp_path / "a" / "new", rows, **contents(rows))
    assert again == tmp_path / "a" / "new" / "index.html"
    assert again.read_bytes() == page_file.read_bytes()


def test_a_bare_ranking_is_enough(tmp_path):
    page = Page(write_report(tmp_path, ranking(troubles=False)))
    assert page.text("article").startswith("Best by cross-validation")
    assert "last round" not in page.text("th")
    assert "None: no fit failed or diverged." in page.text()
    assert {"luck", "figures", "facts", "repeat"}.isdisjoint(a.get("id") for _, a in page.elements)
    assert "std" in page.text("th")
    assert "The smallest of many means is too low as an estimate" in page.text("article")


@pytest.mark.parametrize("grid", [ParameterGrid(lr=[0.1]), ParameterGrid(lr=[0.1, 0.2]), []])
def test_a_search_of_few_configurations_has_the_figures_that_it_can(tmp_path, grid):
    rows = ranking(grid, n_folds=1, troubles=False)
    page = Page(write_report(tmp_path, rows))
    assert len(page.all("img")) == (len(rows) == 2)
    assert page.source.count("<tr>") == len(rows) + 1


def test_of_one_configuration_no_place_can_be_unstable(tmp_path):
    rows = ranking(ParameterGrid(lr=[0.1]), n_folds=3, troubles=False)
    page = Page(write_report(tmp_path, rows, optimism=Optimism(np.ones((1, 3))), retrained=retrained(rows)))
    assert [image["alt"][:10] for image in page.all("img")] == ["1 learning"]
    assert "of 1 configuration. The test points" in page.text("article")
    assert "Lowest test loss" not in page.text("article"), "of one, none was chosen"
    assert "The test loss from many seeds One configuration: nothing was chosen; its mean test loss is 1.0000" in page.text()


def test_those_that_a_strategy_stopped_have_not_failed(tmp_path):
    outcomes = {(f'{{"lr":0.{i}}}', 0): Outcome(status, 0.5) for i, status in enumerate(("failed", "done", "done"), 1)}
    rows = rank([{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}], outcomes, 1, last_rounds={'{"lr":0.2}': 9})
    page = Page(write_report(tmp_path, rows))
    summary = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", page.source))
    assert (summary["stopped early"], summary["failed or diverged"]) == ("1", "1")
    assert "of 1 configuration trained to the end." in page.text("article")
    assert "those stopped, the latest first" in page.text("caption")
    [table] = re.findall('<table id="ranking-table">(.*?)</table>', page.source, flags=re.DOTALL)
    lines = [re.findall("<td[^>]*>(.*?)</td>", line) for line in table.split("<tr>")[2:]]
    assert re.findall("<th[^>]*>(.*?)</th>", table)[-2:] == ["last round", "status"]
    assert [line[-2:] for line in lines] == [["–", "done"], ["9", "stopped"], ["–", "failed"]]


def test_two_dollars_in_a_configuration_are_no_formula(tmp_path):
    rows = ranking(ParameterGrid({"$\\frac{$": [1, 2], "note": ["$\\frac{$", "$1 and $2"]}), troubles=False)
    assert len(Page(write_report(tmp_path, rows)).all("img")) == 3


def test_seeds_whose_losses_differ_by_rounding_alone_have_a_figure(tmp_path):
    page = Page(write_report(tmp_path, without_figures(), seed_losses=[0.5, np.nextafter(0.5, 1)]))
    assert "Histogram of 2 test losses from 0.5 to 0.5" in page.source


def test_a_search_that_failed_altogether_says_so(tmp_path):
    rows = rank([{"lr": 0.1}, {"lr": 0.2}], {(f'{{"lr":0.{i}}}', 0): Outcome("failed", reason="no") for i in (1, 2)}, 1)
    page = Page(write_report(tmp_path, rows))
    assert page.all("article") == []
    assert "No configuration is done" in page.text("section")
    assert page.text("table").count("fold 0: no") == 2


def test_the_winner_is_the_best_that_could_be_trained_again(tmp_path):
    rows = ranking()
    page = Page(write_report(tmp_path, rows, retrained=retrained(rows[1:3])))
    assert "it has rank 2. The test points were not used to choose it." in page.text("article")


def test_repeats_have_columns_and_a_figure_of_their_own(tmp_path):
    grid = [{"lr": 0.1}, {"lr": 0.2}]
    outcomes = {(f'{{"lr":{row["lr"]}}}', fit): Outcome("done", row["lr"] + fit) for row in grid for fit in range(4)}
    page = Page(write_report(tmp_path, rank(grid, outcomes, 2, repeats=2)))
    assert "fold 0 repeat 0 fold 1 repeat 0 fold 0 repeat 1 fold 1 repeat 1" in " ".join(
        re.findall("<th[^>]*>(.*?)</th>", page.source)
    )
    assert [alt for image in page.all("img") if "repeats" in (alt := image["alt"])] != []
    assert "over 2 validation folds" in page.text("article")


def test_a_figure_that_cannot_be_copied_is_shown_as_it_is(tmp_path):
    figure = Figure()
    axes = figure.add_subplot()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value} m")  # a function inside a function does not pickle
    page = Page(write_report(tmp_path, without_figures(), figures=[("Caption.", "Words.", figure)]))
    [(wide, narrow)] = [
        (image["src"], source["srcset"])
        for image, source in zip(page.all("img"), page.all("source"), strict=True)
        if image["alt"] == "Words."
    ]
    assert wide == narrow


def test_a_figure_stays_as_it_was(tmp_path):
    figure = contents(ranking())["figures"][0][2]
    write_report(tmp_path, without_figures(), figures=[("Caption.", "Words.", figure)])
    assert figure.get_size_inches() == pytest.approx([7.0, 4.2])


def test_a_page_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SearchError, match=r"^.*taken/index\.html cannot be written: .*; give another folder$"):
        write_report(tmp_path / "taken", without_figures())


def test_an_older_page_stays_if_the_new_one_cannot_be_made(tmp_path, monkeypatch):
    page = write_report(tmp_path, without_figures())
    before = page.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SearchError, match="No space left on device"):
        write_report(tmp_path, without_figures(), title="new")
    assert page.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_thousands_of_configurations_are_a_page_of_few_megabytes(tmp_path):
    grid = [{"lr": float(lr), "width": width} for lr in np.linspace(0.001, 1, 1500) for width in (1, 2)]
    page = write_report(tmp_path, ranking(grid, n_folds=2, troubles=False))
    assert page.read_text(encoding="utf-8").count("<tr>") == 3001
    assert page.stat().st_size < 4e6


def test_an_undefined_name_in_the_template_is_an_error():
    with pytest.raises(search.report.page.jinja2.UndefinedError):
        search.report.page._render(title="only this")
