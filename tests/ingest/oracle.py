"""Prints what pydicom itself makes of files: a JSON object a line. Run as a process of its own.

It loads every decoder that is installed, GPL ones too, which Imarium's own processes never do.
"""

import json
import sys
import warnings

import blake3
import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

warnings.simplefilter("ignore")
for path in sys.argv[1:]:
    try:
        dataset = pydicom.dcmread(path)
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax == JPEGExtended12Bit:
            frames = generate_frames(dataset.PixelData, number_of_frames=dataset.get("NumberOfFrames", 1))
            pixels = np.stack([imagecodecs.jpeg8_decode(frame) for frame in frames])
        else:
            # Decoders of lossy JPEG differ by 1; ours is libjpeg-turbo, which Pillow brings for 8 bits.
            turbo = syntax == JPEGBaseline8Bit
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
