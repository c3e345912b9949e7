"""A report as a reader's program sees it: headings, pictures, addresses, text."""

import base64
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np


@dataclass
class Page(HTMLParser):
    """What is in a page; ``sections`` has the text under each heading."""

    headings: list[str] = field(default_factory=list)
    sections: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, list[str]] = field(default_factory=dict)
    """Data URIs under each heading."""
    addresses: list[str] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)

    def __post_init__(self):
        super().__init__()
        self._inside = ""

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self._inside = tag
        for name, value in attributes:
            if name in ("src", "href", "srcset", "data", "action", "poster", "background"):
                self.addresses.append(value)
        if tag == "img":
            self.pictures[self.headings[-1]].append(dict(attributes)["src"])

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, text):
        if self._inside == "h2":
            self.headings.append(text)
            self.sections[text], self.pictures[text] = "", []
        elif self.headings and self._inside != "style":
            self.sections[self.headings[-1]] += f" {text.strip()}"


def read_page(path: Path) -> Page:
    """Parse a page, and see that it needs nothing but itself and that all its pictures decode."""
    text = path.read_text()
    assert "@import" not in text and "url(" not in text and "<script" not in text
    page = Page()
    page.feed(text)
    outside = [one for one in page.addresses if not one.startswith(("data:image/", "#"))]
    assert outside == [], "the page opens from disk, without a network"
    for picture in [one for some in page.pictures.values() for one in some]:
        kind, content = picture.split(";base64,")
        content = base64.b64decode(content)
        if kind == "data:image/svg+xml":
            root = ElementTree.fromstring(content)
            links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
            assert root.tag.endswith("svg")
            assert all(link.startswith(("#", "data:image/")) for link in links)
        else:
            assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is not None
    return page
