"""The report of a search: one HTML page without other files, for a browser, a phone or paper.

    ranking, retrained, comparison, ... --> contents: cards, tables       --.
                                        --> illustrations: figures, SVG   --+--> page.html.jinja --> index.html
                                                   page.css, page.js      --'

The page loads nothing from the network. Style, script and figures are inside it, and its content security policy forbids
everything else. Equal input gives equal bytes.
"""
