"""What tests of pixels need of the machine."""

import pytest

from imarium.deid.pixels import tesseract
from imarium.testing.burned_text import fonts_available


@pytest.fixture(scope="session")
def reading() -> None:
    """Tesseract and the fonts that text is planted with; tests skip, and say so, without."""
    if not tesseract.available():
        pytest.skip("no tesseract: apt-get install tesseract-ocr")
    if not fonts_available():
        pytest.skip("no DejaVu fonts: apt-get install fonts-dejavu-core")


@pytest.fixture(scope="session")
def fonts() -> None:
    """The fonts that text is planted with."""
    if not fonts_available():
        pytest.skip("no DejaVu fonts: apt-get install fonts-dejavu-core")
