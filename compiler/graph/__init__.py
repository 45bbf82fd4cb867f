"""The compiler's graph: typed tensors, core operators, access patterns, and the references that execute it."""
