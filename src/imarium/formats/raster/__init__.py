"""Plain pictures: PNG (ISO/IEC 15948) and JPEG (ISO/IEC 10918-1), and PNG for display.

Readers learn everything about a picture from its header, hold it against the limits, and decode only when
frames are asked for.
"""

from imarium.formats.raster.jpeg import JpegReader
from imarium.formats.raster.png import PngReader
from imarium.formats.raster.png_writer import PngWriter, encode_png

__all__ = ["JpegReader", "PngReader", "PngWriter", "encode_png"]
