"""Every paper that is cited by author and year stands in docs/references.md."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_NAME = r"[A-ZÀ-Þ][\w'-]+"
_CITATION = re.compile(
    rf"({_NAME}(?:\s+(?:&|and)\s+{_NAME}|\s+et\s+al\.)?),?\s+\(?((?:19|20)\d\d)[a-z]?\b"
)
_NO_PAPERS = {"Copyright 2024", "Images 2009"}  # a licence; the end of a title


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"\n\s*#?\s*", " ", text))


def test_every_citation_has_its_reference():
    page = ROOT / "docs" / "references.md"
    references = _one_line(page.read_text("utf-8"))
    cited = set()
    for folder in ("rnnae", "configs", "experiments", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md") and path != page:
                for authors, year in _CITATION.findall(_one_line(path.read_text("utf-8"))):
                    cited.add(f"{authors.replace(' and ', ' & ')} {year}")
    assert len(cited) > 60
    assert {paper for paper in cited - _NO_PAPERS if paper not in references} == set()
