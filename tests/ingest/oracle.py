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


def digests(frames):
    little = (np.ascontiguousarray(frame, frame.dtype.newbyteorder("<")) for frame in frames)
    return [blake3.blake3(frame.tobytes()).hexdigest() for frame in little]


for path in sys.argv[1:]:
    try:
        dataset = pydicom.dcmread(path)
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax == JPEGExtended12Bit:
            frames = generate_frames(dataset.PixelData, number_of_frames=dataset.get("NumberOfFrames", 1))
            pixels = stored = np.stack([imagecodecs.jpeg8_decode(frame) for frame in frames])
        else:
            # Decoders of lossy JPEG differ by 1; ours is libjpeg-turbo, which Pillow brings for 8 bits.
            plugin = "pillow" if syntax == JPEGBaseline8Bit else ""
            stored = pydicom.pixels.pixel_array(dataset, raw=True, decoding_plugin=plugin)
            # As they are to be shown: YBR becomes RGB.
            pixels = pydicom.pixels.pixel_array(dataset, decoding_plugin=plugin)
    except Exception as error:
        print(json.dumps({"path": path, "error": type(error).__name__}))
        continue
    frame_shape = pixels.shape[-3:] if dataset.SamplesPerPixel > 1 else pixels.shape[-2:]
    told = {
        "path": path,
        "dtype": pixels.dtype.name,
        "shape": frame_shape,
        "frames": digests(pixels.reshape(-1, *frame_shape)),
        "stored": digests(stored.reshape(-1, *frame_shape)),
    }
    print(json.dumps(told))
