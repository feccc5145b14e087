"""DICOM: files to series and back (PS3.3, PS3.5, PS3.10).

The modules, from the file inwards: `guard` imports pydicom without its GPL plugin; `header` parses a file
up to its pixel data; `pixels` checks the Image Pixel module and reads native frames; `decoder_client` and
`decoder_process` decode compressed ones; `dicomdir` reads tables of contents; `mosaic` and `geometry` say
where frames lie; `instance` is what is known of a file; `grouping` makes stacks; `frames` delivers them;
`attachments` is what the pack keeps; `reader`, `merging`, `even` and `writer` are what others call.
`instance_header`, `encapsulating` and `codestreams` are the writer's. `details` says what of a header the
catalog may know.
"""

from imarium.formats.dicom import guard  # isort: skip - must come before anything that imports pydicom

from imarium.formats.dicom.attachments import instance_frames
from imarium.formats.dicom.details import details_of, patient_of
from imarium.formats.dicom.dicomdir import Places, TableOfContentsError
from imarium.formats.dicom.even import evened
from imarium.formats.dicom.merging import Merged, compatible, merge
from imarium.formats.dicom.reader import DicomReader
from imarium.formats.dicom.writer import DicomWriter, TransferSyntax

__all__ = [
    "DicomReader",
    "DicomWriter",
    "Merged",
    "Places",
    "TableOfContentsError",
    "TransferSyntax",
    "compatible",
    "details_of",
    "evened",
    "guard",
    "instance_frames",
    "merge",
    "patient_of",
]
