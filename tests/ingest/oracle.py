"""Prints what pydicom itself makes of files: a JSON object a line. Run as a process of its own.

It loads every decoder that is installed, GPL ones too, which Imarium's own processes never do.
"""

import json
import sys
import warnings

import blake3
import numpy as np
import pydicom
from pydicom.uid import JPEGBaseline8Bit

warnings.simplefilter("ignore")
for path in sys.argv[1:]:
    try:
        dataset = pydicom.dcmread(path)
        # Decoders of lossy JPEG differ by 1; ours is libjpeg-turbo, which Pillow brings.
        turbo = dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
        pixels = pydicom.pixels.pixel_array(dataset, decoding_plugin="pillow" if turbo else "")
    except Exception as error:
        print(json.dumps({"path": path, "error": type(error).__name__}))
        continue
    frame_shape = pixels.shape[-3:] if dataset.SamplesPerPixel > 1 else pixels.shape[-2:]
    frames = pixels.reshape(-1, *frame_shape)
    digests = [
        blake3.blake3(np.ascontiguousarray(frame, frame.dtype.newbyteorder("<")).tobytes()).hexdigest()
        for frame in frames
    ]
    print(json.dumps({"path": path, "dtype": pixels.dtype.name, "shape": frame_shape, "frames": digests}))
