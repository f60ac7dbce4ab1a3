"""Checks that an HTML page can neither run anything nor load anything."""

import re
from html.parser import HTMLParser

_ELEMENTS = re.compile(
    "html|meta|title|style|h[123]|p|br|ul|ol|li|a|div|section|span|figure|figcaption|img|table|"
    "thead|tbody|tr|th|td|pre|code|em|strong"
)
_ATTRIBUTES = re.compile("lang|charset|name|content|http-equiv|class|id|src|alt|href")
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class _Page(HTMLParser):
    """The elements of a page, and the text between them."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.text += "\t" * (tag == "td")

    def handle_data(self, data):
        self.text += data


def check(page: str) -> str:
    """The text of a page, which has no script, no handler, and no address but its own parts and
    pictures that are data; AssertionError otherwise."""
    parsed = _Page(page)
    for tag, attributes in parsed.elements:
        assert _ELEMENTS.fullmatch(tag), tag
        assert all(map(_ATTRIBUTES.fullmatch, attributes)), attributes
        source, address = attributes.get("src"), attributes.get("href")
        if source is not None:
            assert re.fullmatch(r"data:image/(png|gif);base64,[A-Za-z0-9+/=]+", source)
        if address is not None:
            assert re.fullmatch(r"#[\w-]+", address)
            assert ("section", address[1:]) in [(t, a.get("id")) for t, a in parsed.elements]
    metas = [a for tag, a in parsed.elements if "http-equiv" in a]
    assert metas == [{"http-equiv": "Content-Security-Policy", "content": _POLICY}]
    (style,) = re.findall("<style>(.*?)</style>", page, flags=re.DOTALL)
    assert "url(" not in style and "@import" not in style
    return parsed.text
