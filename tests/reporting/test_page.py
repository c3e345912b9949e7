import re

import numpy as np
from matplotlib.figure import Figure as Plot

from handray.reporting.page import (
    Chip,
    Facts,
    Figure,
    Gallery,
    Section,
    Table,
    Text,
    Tile,
    photo,
    plot,
    render,
)

SPITE = '<script>alert("1")</script>'


def everywhere(text: str) -> str:
    """A page that has the text in every place where text may stand."""
    picture = photo(np.zeros((8, 4), np.uint8), text)
    blocks = [
        Text(text),
        Facts({text: text}),
        Table([text, "n"], [[text, 1], [Chip(text, "#d55e00"), None]], text, shown=1),
        Figure(picture, text),
        Gallery([Tile(picture, text, text, text)]),
    ]
    return render(text, text, [Section(text, blocks, 1)])


def test_all_text_is_escaped():
    html = everywhere(SPITE)
    assert "<script" not in html
    # title 2, subtitle, contents, heading; text; fact 2; table 5; figure 2; tile 4
    assert html.count("&lt;script&gt;") == 19


def test_a_page_names_no_address_but_its_own_places():
    links = re.findall(r'(?:src|href)="([^"]*)"', everywhere("text"))
    assert len(links) == 5
    assert all(link.startswith(("data:image/", "#")) for link in links)


def test_rows_beyond_those_shown_are_folded_away():
    rows = [[f"row{number}", number] for number in range(5)]
    shown, folded = render("", "", [Section("", [Table(["a", "b"], rows, shown=3)])]).split(
        "<details>"
    )
    assert "row2" in shown and "row3" not in shown
    assert "2 more" in folded and "row4" in folded


def test_numbers_are_written_for_people():
    cells = [1234567, 0.123456, float("nan"), None]
    html = render("", "", [Section("", [Table(list("abcd"), [cells])])])
    assert re.findall(r"<td[^>]*>([^<]*)</td>", html) == ["1\u202f234\u202f567", "0.1235", "", ""]


def test_a_plot_is_the_same_bytes_each_time():
    def draw() -> str:
        figure = Plot()
        figure.subplots().plot([1, 2])
        return plot(figure, "line").source

    assert draw() == draw()
    assert draw().startswith("data:image/svg+xml;base64,")
