"""From an ONNX file to a graph of core operators."""
