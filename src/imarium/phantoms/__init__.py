"""Synthetic images with known truth: large enough to measure with, free of patients."""

from imarium.phantoms.ct_chest import NODULES, ChestCt, Nodule, ct_chest

__all__ = ["NODULES", "ChestCt", "Nodule", "ct_chest"]
