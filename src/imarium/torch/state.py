"""How far a data set is, so that another run can go on from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from imarium.errors import InvalidRequestError
from imarium.torch.order import Share

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """What was given of an epoch."""

    epoch: int
    used: int = 0
    """Samples of the rank that were used before the rest was dealt to the workers."""
    given: int = 0
    """Samples that a worker has given since."""
    worker: int = 0
    workers: int = 1

    def to_json(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """With what the order depends on."""
        return {"version": _VERSION, **asdict(self), **facts}

    @classmethod
    def from_json(cls, state: Any, facts: Mapping[str, Any]) -> Progress:
        """The inverse; raises InvalidRequestError for the state of another order."""
        if not isinstance(state, Mapping) or state.get("version") != _VERSION:
            raise InvalidRequestError("this is no state of a StreamingDataset")
        different = [name for name, value in facts.items() if state.get(name) != value]
        if different:
            raise InvalidRequestError(
                f"the state is of another order of samples: {', '.join(different)} differ; make the data set "
                "as it was, from the manifest that it had"
            )
        numbers = {name: state.get(name) for name in ("epoch", "used", "given", "worker", "workers")}
        if not all(isinstance(number, int) and number >= 0 for number in numbers.values()):
            raise InvalidRequestError("the state is damaged")
        return cls(**numbers)  # type: ignore[arg-type]

    def check(self, share: Share) -> None:
        """Raises InvalidRequestError where another worker goes on."""
        if self.given and (self.worker, self.workers) != (share.worker, share.workers):
            raise InvalidRequestError(
                f"the state is of worker {self.worker} of {self.workers}, and this is {share.worker} of "
                f"{share.workers}; with batch_size, state_dict(used=...) goes on with any number of workers"
            )
