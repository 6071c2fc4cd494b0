"""Distillation: inputs → labels → training → calibration → certificate → evaluation → bundle."""
