"""The report of a search: one HTML page that stands alone, for a browser, a phone or paper.

    ranking, retrained, comparison, ... --> contents: cards, tables       --.
                                        --> illustrations: figures, SVG   --+--> page.html.jinja --> index.html
                                                   page.css, page.js      --'

The page asks the network for nothing: style, script and figures are in it, and its content security policy forbids all
else. Equal input gives equal bytes.
"""

from search.report.network import network_figures
from search.report.page import write_report

__all__ = ["network_figures", "write_report"]
