"""HDF5 files of images: fastMRI's layout, and numeric datasets of two to six dimensions."""

from imarium.formats.hdf5.reader import Hdf5Reader

__all__ = ["Hdf5Reader"]
