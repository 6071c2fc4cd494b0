"""Encoders as they answer: torch, int8 and ONNX."""
