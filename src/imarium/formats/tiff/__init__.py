"""TIFF, classic (revision 6.0) and BigTIFF: directories, pixels, and the metadata of OME and ImageJ."""

from imarium.formats.tiff.reader import TiffReader

__all__ = ["TiffReader"]
