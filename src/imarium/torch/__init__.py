"""Training with PyTorch (the extra `torch`): data sets that stream what a server or a store holds.

from imarium.torch import StreamingDataset

dataset = StreamingDataset("http://127.0.0.1:8000", "chest label.split=train", size=224, label="class")
"""

try:
    import torch as _torch  # noqa: F401 - a clear error before the long way there
except ImportError as error:
    raise ImportError("imarium.torch needs PyTorch: pip install 'imarium[torch]'") from error

from imarium.torch.dataset import BatchedDataset, StreamingDataset

__all__ = ["BatchedDataset", "StreamingDataset"]
