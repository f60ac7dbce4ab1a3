"""Text that goes into a page stays text, and a page loads nothing."""

import numpy as np
import pytest
from PIL import Image

from rnnae.records import html_page
from tests import inert

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "![x](http://example.org/x.png)",
    "[x](javascript:alert(1)) <http://example.org> http://example.org",
    "[x]: http://example.org 'title'\n\n[x] ![x]",
    "</style></title><script>",
    "&lt;script&gt; &#60;script&#62;",
]


@pytest.mark.parametrize("text", NASTY)
def test_any_text_is_inert(text, tmp_path):
    path = tmp_path / f"{text.replace('/', '_')}.png"
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(path)
    body = [
        f"<p>{html_page.text(text)}</p>",
        html_page.table([text], [[text]]),
        html_page.markdown(text),
        html_page.markdown(f"# {text}\n\n| a |\n|---|\n| {text} |\n\n- `{text}`"),
        html_page.picture(path, text),
    ]
    shown = inert.check(html_page.page(text, "\n".join(body)))
    assert shown.count(text) >= 4  # the title, the sentence and both cells of the table


def test_the_check_of_pages_finds_what_is_not_inert():
    bad = ["<script></script>", "<p onclick='x'>", "<a href='http://x'>", "<img src='http://x'>"]
    for element in [*bad, "<iframe>", "<a href='javascript:x'>", "<style>a{}</style>"]:
        with pytest.raises((AssertionError, ValueError)):
            inert.check(html_page.page("title", element))


def test_markdown_has_tables_code_and_emphasis():
    page = html_page.markdown("# T\n\n| a |\n|---|\n| **b** *c* `d` x_y_z \\| |\n\n- e\n- f")
    for part in (
        "<h1>T</h1>",
        "<th>a</th>",
        "<strong>b</strong> <em>c</em> <code>d</code> x_y_z |",
    ):
        assert part in page
    assert page.count("<li>") == 2


def test_a_picture_is_data_and_other_files_are_not_read_into_the_page(tmp_path):
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "a.gif")
    assert 'src="data:image/gif;base64,R0lGOD' in html_page.picture(tmp_path / "a.gif", "a")
    (tmp_path / "b.png").write_text("a secret")
    assert (
        html_page.picture(tmp_path / "b.png") == "<p>b.png is no PNG or GIF, and is left out.</p>"
    )


def test_a_name_that_is_not_unicode_can_be_written():
    assert "<title>a?b</title>" in html_page.page("a\udcffb", "")
